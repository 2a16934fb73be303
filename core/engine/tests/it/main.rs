//! The engine over a real store: one binary, a file per subject.

mod execute;
mod library;
mod limits;
mod queue;
mod registry;
mod submit;
mod support;
