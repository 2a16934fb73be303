//! The configuration's documentation is what the program says of itself.

use altmount::config::{reference_markdown, sample_yaml};
use std::path::Path;

fn check(file: &str, made: &str, form: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "{file} is stale; write it anew with: cargo run -- config reference {form} > {file}"
    );
}

#[test]
fn the_reference_page_is_made_from_the_types() {
    check("docs/configuration.md", &reference_markdown(), "markdown");
}

#[test]
fn the_sample_file_is_made_from_the_types() {
    check("examples/deploy/config.sample.yaml", &sample_yaml(), "sample");
}
