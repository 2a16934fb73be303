//! The rules that hold for every importer.

use altmount_example_hello::Hello;
use altmount_testkit::{conformance, conformance::Sample};

conformance!(Hello, [Sample::new("people.hello", "world\nmoon\n")]);
