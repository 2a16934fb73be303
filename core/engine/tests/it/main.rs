//! The engine over a real store: one binary, a file per subject.

mod execute;
mod library;
mod limits;
mod loaded;
mod queue;
mod registry;
mod services;
mod submit;
mod support;
