//! The settings of the page: lists of sections, and the forms of importers.

use crate::harness::Server;
use crate::web_login::Browser;
use serde_json::json;

#[tokio::test]
async fn items_of_lists_are_added_and_taken_out() {
    let server = Server::with_file("# mine\n").await;
    let mut browser = Browser::known(&server).await;
    let token = browser.token().await;
    assert!(browser.get("/settings").await.text().contains("First steps"));
    for (section, texts) in [
        ("arr", vec!["arr.instances.0.url", "arr.queue.rules.0.message"]),
        (
            "outputs",
            vec![
                "outputs.mappings.0.ours",
                "One a line, of: mount, symlinks, strm, copy.",
            ],
        ),
        ("categories", vec!["categories.0.name"]),
        ("plugins", vec!["plugins.load.0.path", "plugins.priority"]),
        ("server", vec!["server.trusted_proxies"]),
    ] {
        let page = browser.get(&format!("/settings/config/{section}")).await;
        for text in texts {
            assert!(page.text().contains(text), "{section}: {text} in {}", page.text());
        }
        assert!(
            !page.text().contains("name=\"plugins.config\""),
            "each importer has a form of its own"
        );
    }
    let add = [
        ("csrf", token.as_str()),
        ("categories.count", "1"),
        ("categories.0.name.there", "1"),
        ("categories.0.name", "tv"),
        ("categories.0.dir.there", "1"),
        ("categories.0.dir", "shows"),
        ("categories.0.check.there", "1"),
        ("categories.0.check", ""),
    ];
    let saved = browser.post("/settings/config/categories", &add).await;
    assert!(saved.text().contains("Saved, and in use."), "{}", saved.text());
    assert!(server.config().contains("# mine\n"), "{}", server.config());
    // Its folder is made while the server runs.
    for _ in 0..500 {
        if server.get("/api/library?path=/shows").await.status == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(server.get("/api/library?path=/shows").await.status, 200);
    let rule = [
        ("csrf", token.as_str()),
        ("arr.queue.rules.count", "1"),
        ("arr.queue.rules.0.message.there", "1"),
        ("arr.queue.rules.0.message", "*sample*"),
        ("arr.queue.rules.0.grace_seconds.there", "1"),
        ("arr.queue.rules.0.grace_seconds", "60"),
    ];
    let saved = browser.post("/settings/config/arr", &rule).await;
    assert!(saved.text().contains("Saved, and in use."), "{}", saved.text());
    assert!(server.config().contains("*sample*"), "{}", server.config());
    let proxies = [
        ("csrf", token.as_str()),
        ("server.trusted_proxies.there", "1"),
        ("server.trusted_proxies", "10.0.0.0/8\r\nnonsense"),
    ];
    let refused = browser.post("/settings/config/server", &proxies).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("Nothing is saved"), "{}", refused.text());
    let out = [
        ("csrf", token.as_str()),
        ("categories.count", "1"),
        ("categories.0.remove", "1"),
    ];
    browser.post("/settings/config/categories", &out).await;
    let categories = server.get("/api/settings").await.json()["data"]["config"]["categories"].clone();
    assert_eq!(categories, json!([]));
}

#[tokio::test]
async fn an_importer_has_a_form_of_its_own_and_refuses_what_it_does_not_take() {
    let server = Server::with_file("").await;
    let mut browser = Browser::known(&server).await;
    let token = browser.token().await;
    let importers = browser.get("/settings/plugins").await;
    assert!(
        importers.text().contains("href=\"/settings/plugins/nzb\""),
        "{}",
        importers.text()
    );
    let page = browser.get("/settings/plugins/nzb").await;
    assert_eq!(page.status, 200);
    for text in [
        "name=\"plugins.config.nzb.check\"",
        "<option selected>sample</option>",
        "<textarea name=\"plugins.config.nzb.ignore\"",
        "type=\"checkbox\" name=\"plugins.config.nzb.list_samples\"",
        "<textarea name=\"plugins.config.nzb.category_checks\"",
    ] {
        assert!(page.text().contains(text), "{text} in {}", page.text());
    }
    let before = server.config();
    let key = "plugins.config.nzb.max_files";
    let send = async |browser: &mut Browser<'_>, value: &str| {
        let there = format!("{key}.there");
        let fields = [("csrf", token.as_str()), (&there, "1"), (key, value)];
        browser.post("/settings/plugins/nzb", &fields).await
    };
    let refused = send(&mut browser, "-7").await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains("Nothing is saved"), "{}", refused.text());
    assert_eq!(server.config(), before);
    let saved = send(&mut browser, "77").await;
    assert!(saved.text().contains("Saved, and in use."), "{}", saved.text());
    assert!(server.config().contains("max_files: 77"), "{}", server.config());
    assert!(browser.get("/settings/plugins/nzb").await.text().contains("77"));
    assert_eq!(browser.get("/settings/plugins/none").await.status, 404);
}
