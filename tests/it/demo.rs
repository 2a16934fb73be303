//! The demonstration, as a new user runs it.

use altmount::cli::Demo;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demonstration_verifies_what_it_streams() {
    let mut steps = Vec::new();
    let mut hear = |step: &altmount::cli::Step| steps.push(step.text.clone());
    let demo = Demo::start(([127, 0, 0, 1], 0).into(), &mut hear)
        .await
        .expect("it starts");
    let verdict = demo.verify(&mut hear).await.expect("every step works");
    assert!(verdict.is_verified(), "{verdict:?}");
    assert_eq!(verdict.posted.len(), 64);
    let addresses = demo.addresses();
    assert!(
        addresses.contains("/webdav") && addresses.contains("apikey="),
        "{addresses}"
    );
    demo.end().await.expect("it ends in order");
    for part in [
        "news server at",
        "POST /api/import/file",
        "PROPFIND",
        "GET http",
        "Range",
        "SHA-256",
    ] {
        assert!(
            steps.iter().any(|step| step.contains(part)),
            "no step says '{part}': {steps:?}"
        );
    }
}
