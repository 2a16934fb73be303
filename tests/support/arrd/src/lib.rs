//! A double of Sonarr and its kin. It shares nothing with what it tests. [`rest`] is their REST side.

pub mod rest;
