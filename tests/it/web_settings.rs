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
        ("plugins", vec!["plugins.load.0.path", "plugins.priority.0.name"]),
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
        "<legend>category checks</legend>",
        "<select name=\"plugins.config.nzb.category_checks.0.value\"",
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

/// The part of a page from the row with this name on, up to the next.
fn row<'a>(page: &'a str, name: &str) -> &'a str {
    let at = page
        .find(&format!("aria-label=\"{name}\""))
        .unwrap_or_else(|| panic!("no row '{name}' in {page}"));
    let rest = &page[at..];
    &rest[..rest.find("</div>").unwrap_or(rest.len())]
}

#[tokio::test]
async fn maps_have_rows_that_are_added_changed_and_taken_out() {
    let file = "# mine\nplugins:\n  priority:\n    # the best\n    nzb: 4 # sure\noutputs:\n  categories: {tv: [mount]}\n";
    let server = Server::with_file(file).await;
    let before = server.config();
    let mut browser = Browser::known(&server).await;
    let token = browser.token().await;
    let page = browser.get("/settings/config/plugins").await;
    let nzb = row(page.text(), "nzb").to_owned();
    assert!(
        nzb.contains("name=\"plugins.priority.0.name\" value=\"nzb\""),
        "{nzb}"
    );
    assert!(
        nzb.contains("name=\"plugins.priority.0.value\" value=\"4\""),
        "{nzb}"
    );
    assert!(row(page.text(), "A new row").contains("plugins.priority.1.name"));
    let send = async |browser: &mut Browser<'_>, section: &str, fields: &[(&str, &str)]| {
        let fields = [&[("csrf", token.as_str())][..], fields].concat();
        browser
            .post(&format!("/settings/config/{section}"), &fields)
            .await
    };
    let kept = [
        ("plugins.priority.there", "1"),
        ("plugins.priority.count", "2"),
        ("plugins.priority.0.was", "nzb"),
        ("plugins.priority.0.name", "nzb"),
        ("plugins.priority.0.value", "4"),
        ("plugins.priority.1.was", ""),
    ];
    // Room for one more, with what was written so far, and nothing saved.
    let new = [
        ("plugins.priority.1.name", "links"),
        ("plugins.priority.1.value", "9"),
        ("more", "plugins.priority"),
    ];
    let more = send(&mut browser, "plugins", &[&kept[..], &new].concat()).await;
    assert_eq!(more.status, 200);
    assert!(
        more.text()
            .contains("name=\"plugins.priority.1.name\" value=\"links\""),
        "{}",
        more.text()
    );
    assert!(more.text().contains(
        "name=\"plugins.priority.2.name\" value=\"\" maxlength=\"200\" spellcheck=\"false\" autofocus"
    ));
    assert_eq!(server.config(), before);
    // What is wrong is said of its row, and what was written is still there.
    let wrong = [
        ("plugins.priority.1.name", "links"),
        ("plugins.priority.1.value", "many"),
    ];
    let refused = send(&mut browser, "plugins", &[&kept[..], &wrong].concat()).await;
    assert_eq!(refused.status, 400);
    let text = refused.text();
    assert!(
        text.contains("aria-describedby=\"plugins.priority.1.value-fault\""),
        "{text}"
    );
    assert!(
        text.contains(
            "id=\"plugins.priority.1.value-fault\">&#39;plugins.priority.links&#39; must be a whole number"
        ) || text.contains(
            "id=\"plugins.priority.1.value-fault\">'plugins.priority.links' must be a whole number"
        ),
        "{text}"
    );
    assert!(text.contains("value=\"many\""), "{text}");
    assert_eq!(server.config(), before);
    let right = [
        ("plugins.priority.1.name", "links"),
        ("plugins.priority.1.value", "-9"),
    ];
    let saved = send(&mut browser, "plugins", &[&kept[..], &right].concat()).await;
    assert!(saved.text().contains("Saved, and in use."), "{}", saved.text());
    let config = server.config();
    for text in [
        "# mine\n",
        "    # the best\n",
        "    nzb: 4 # sure\n",
        "    links: -9\n",
    ] {
        assert!(config.contains(text), "{text} in {config}");
    }
    // A list of words for each name; what the configuration as a whole has against it is said there too.
    let ways = [
        ("outputs.categories.there", "1"),
        ("outputs.categories.count", "2"),
        ("outputs.categories.0.was", "tv"),
        ("outputs.categories.0.name", "tv"),
        ("outputs.categories.0.value", "mount\r\ncopy"),
        ("outputs.categories.1.name", "TV 4K"),
        ("outputs.categories.1.value", " mount \r\n"),
    ];
    let refused = send(&mut browser, "outputs", &ways).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.text().contains("id=\"outputs.categories.0.value-fault\""),
        "{}",
        refused.text()
    );
    let mut right = ways;
    right[4].1 = "mount";
    let saved = send(&mut browser, "outputs", &right).await;
    assert!(saved.text().contains("Saved, and in use."), "{}", saved.text());
    let mut out = ways[..5].to_vec();
    out[1].1 = "1";
    out.push(("outputs.categories.0.remove", "1"));
    send(&mut browser, "outputs", &out).await;
    let config = server.get("/api/settings").await.json()["data"]["config"].clone();
    assert_eq!(config["outputs"]["categories"], json!({"TV 4K": ["mount"]}));
    assert_eq!(config["plugins"]["priority"], json!({"links": -9, "nzb": 4}));
    // An importer's own maps are the same.
    let check = [
        ("csrf", token.as_str()),
        ("plugins.config.nzb.category_checks.there", "1"),
        ("plugins.config.nzb.category_checks.count", "1"),
        ("plugins.config.nzb.category_checks.0.name", "TV 4K"),
        ("plugins.config.nzb.category_checks.0.value", "full"),
    ];
    let saved = browser.post("/settings/plugins/nzb", &check).await;
    assert!(saved.text().contains("Saved, and in use."), "{}", saved.text());
    let config = server.get("/api/settings").await.json()["data"]["config"].clone();
    assert_eq!(
        config["plugins"]["config"]["nzb"]["category_checks"],
        json!({"TV 4K": "full"})
    );
    assert!(server.config().starts_with("# mine\n"), "{}", server.config());
}

/// The stamp of a list in a page.
fn stamp(page: &str, key: &str) -> String {
    let (_, rest) = page
        .split_once(&format!("name=\"{key}.was\" value=\""))
        .unwrap_or_else(|| panic!("no stamp of {key} in {page}"));
    rest.split('"').next().expect("an end").to_owned()
}

#[tokio::test]
async fn a_form_that_was_made_from_another_list_is_refused() {
    let server = Server::with_file("categories: [{name: tv}, {name: movies}]\n").await;
    let mut browser = Browser::known(&server).await;
    let token = browser.token().await;
    let page = browser.get("/settings/config/categories").await;
    let was = stamp(page.text(), "categories");
    let second = |was: &str| -> Vec<(String, String)> {
        [
            ("csrf", token.as_str()),
            ("categories.was", was),
            ("categories.count", "2"),
            ("categories.1.dir.there", "1"),
            ("categories.1.dir", "films"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    };
    let send = async |browser: &mut Browser<'_>, path: &str, fields: &[(String, String)]| {
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        browser.post(path, &fields).await
    };
    let at = "/settings/config/categories";
    // Another page takes out the first meanwhile: what was the second is the first now.
    let out = [
        ("csrf", token.as_str()),
        ("categories.was", was.as_str()),
        ("categories.count", "2"),
        ("categories.0.remove", "1"),
    ];
    let saved = browser.post(at, &out).await;
    assert!(saved.text().contains("Saved, and in use."), "{}", saved.text());
    let before = server.config();
    let refused = send(&mut browser, at, &second(&was)).await;
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("changed elsewhere"), "{}", refused.text());
    assert_eq!(server.config(), before);
    // The answer is the form as it is now, which can be sent.
    let now = stamp(refused.text(), "categories");
    let mut fields = second(&now);
    for (name, _) in &mut fields {
        *name = name.replace(".1.", ".0.");
    }
    fields[2].1 = "1".to_owned();
    let saved = send(&mut browser, at, &fields).await;
    assert!(saved.text().contains("Saved, and in use."), "{}", saved.text());
    let categories = server.get("/api/settings").await.json()["data"]["config"]["categories"].clone();
    assert_eq!(
        (
            &categories[0]["name"],
            &categories[0]["dir"],
            categories.as_array().map(Vec::len)
        ),
        (&json!("movies"), &json!("films"), Some(1))
    );
}

#[tokio::test]
async fn the_news_server_that_is_tried_is_the_one_that_was_chosen() {
    let server = Server::with_file("").await;
    let mut browser = Browser::known(&server).await;
    let token = browser.token().await;
    let page = browser.get("/settings/config/providers").await;
    let was = stamp(page.text(), "providers");
    // The first, which is at hand, and a new one where nothing listens.
    let try_it = async |browser: &mut Browser<'_>, more: &[(&str, &str)]| {
        let fields = [
            &[
                ("csrf", token.as_str()),
                ("providers.count", "2"),
                ("providers.1.host.there", "1"),
                ("providers.1.host", "127.0.0.1"),
                ("providers.1.port.there", "1"),
                ("providers.1.port", "1"),
                ("providers.1.tls.there", "1"),
            ][..],
            more,
        ]
        .concat();
        browser.post("/settings/providers/test", &fields).await
    };
    let first = try_it(&mut browser, &[("providers.was", &was), ("test", "0")]).await;
    assert!(first.text().contains("It works: "), "{}", first.text());
    for more in [&[][..], &[("providers.0.remove", "1")]] {
        let fields = [&[("providers.was", was.as_str()), ("test", "1")][..], more].concat();
        let second = try_it(&mut browser, &fields).await;
        assert!(second.text().contains("It does not work: "), "{}", second.text());
    }
    let gone = [
        ("providers.was", was.as_str()),
        ("test", "0"),
        ("providers.0.remove", "1"),
    ];
    assert_eq!(try_it(&mut browser, &gone).await.status, 400);
    let outdated = [("providers.was", "other"), ("test", "0")];
    assert_eq!(try_it(&mut browser, &outdated).await.status, 409);
}
