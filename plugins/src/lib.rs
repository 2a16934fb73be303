//! The built-in importers, each named once so that it is linked.
//!
//! An importer makes itself known to whatever program holds it (`altmount_sdk::export_importer!`), but a dependency that nobody
//! names in code is not linked at all. Whoever writes `use altmount_plugins as _;` has them all.

pub use altmount_importer_links as _links;
pub use altmount_importer_nzb as _nzb;

#[cfg(test)]
mod tests {
    use altmount_sdk::Registration;

    #[test]
    fn every_built_in_is_linked() {
        let mut ids: Vec<String> = Registration::linked().map(|r| (r.manifest)().id).collect();
        ids.sort();
        assert_eq!(ids, ["links", "nzb"]);
    }

    #[test]
    fn every_built_in_runs_with_no_configuration() {
        for registration in Registration::linked() {
            let id = (registration.manifest)().id;
            assert!((registration.create)(altmount_sdk::json!({})).is_ok(), "{id}");
        }
    }
}
