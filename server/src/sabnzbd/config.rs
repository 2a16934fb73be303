//! The configuration as clients see it: what a SABnzbd would say, with nothing secret in it.

use super::{
    Roots, Sabnzbd,
    answer::{done, error},
    queue::DEFAULT,
    request::Call,
};
use altmount_engine::StoreError;
use serde_json::{Map, Value, json};

impl Sabnzbd {
    /// The folder that all categories are below, for the client.
    pub(super) fn complete_dir(&self) -> String {
        self.0.parts.roots.of(None)
    }

    /// A category's folder for the client: below the complete folder where it is, else the whole path.
    fn dir(&self, name: &str, dir: &altmount_model::VPath) -> String {
        let root = self.0.parts.roots.of(Some(name));
        match root == self.complete_dir() {
            true => dir.as_str().to_owned(),
            false => Roots::below(&root, dir),
        }
    }

    fn categories(&self) -> Value {
        let star = json!({"name": "*", "order": 0, "pp": "3", "script": "None", "dir": "", "newzbin": "", "priority": 0});
        let now = self.0.parts.categories.now();
        let ours = now.iter().enumerate().map(|(at, category)| {
            json!({
                "name": category.name,
                "order": at + 1,
                "pp": "",
                "script": "Default",
                "dir": self.dir(&category.name, &category.dir),
                "newzbin": "",
                "priority": if category.priority == 0 { DEFAULT } else { category.priority },
            })
        });
        std::iter::once(star).chain(ours).collect::<Vec<_>>().into()
    }

    fn misc(&self) -> Value {
        let settings = self.settings();
        json!({
            "complete_dir": self.complete_dir(),
            "download_dir": self.complete_dir(),
            "pre_check": 0,
            "history_retention": "",
            "history_retention_option": "all",
            "history_retention_number": 0,
            "history_limit": settings.history_limit,
            "url_base": settings.url_base,
            "bandwidth_max": self.0.parts.settings.max_bytes_per_second.to_string(),
            "bandwidth_perc": self.speed_limit().0,
            "enable_tv_sorting": 0,
            "enable_movie_sorting": 0,
            "enable_date_sorting": 0,
            "tv_categories": [],
            "movie_categories": [],
            "date_categories": [],
            // Who has the key knows it; who has not learns it nowhere.
            "api_key": "",
            "nzb_key": "",
            "username": "",
            "password": "",
            "script_dir": "",
            "no_dupes": 0,
            "auto_sort": "",
        })
    }

    /// News servers by name, without logins.
    fn servers(&self) -> Value {
        let servers = self.0.parts.meter.status().into_iter().map(|status| {
            json!({
                "name": status.name,
                "displayname": status.name,
                "host": status.host,
                "port": status.port,
                "timeout": 60,
                "username": "",
                "password": "",
                "connections": status.max_connections,
                "ssl": u8::from(status.tls),
                "ssl_verify": 2,
                "enable": u8::from(status.state != altmount_usenet::ProviderState::Disabled),
                "optional": u8::from(status.backup),
                "priority": 0,
            })
        });
        servers.collect::<Vec<_>>().into()
    }

    /// Adds a category to the configuration, or changes the folder and the priority of one that is there.
    ///
    /// # Errors
    /// Why it cannot be, for the client.
    async fn set_category(&self, name: &str, call: &Call) -> Result<(), String> {
        if name.is_empty() || name == "*" {
            return Err("expects the name of a category".to_owned());
        }
        let live = &self.0.parts.live;
        let Some(editor) = live.editor().cloned() else {
            return Err(
                "this server was started without a configuration file, which is where categories are"
                    .to_owned(),
            );
        };
        let _turn = live.edit_turn().await;
        let raw = tokio::task::spawn_blocking(move || editor.raw()).await;
        let raw = raw.map_err(|error| error.to_string())?;
        let raw = raw.map_err(|error| error.to_string())?;
        let mut all = raw["categories"].as_array().cloned().unwrap_or_default();
        let at = all
            .iter()
            .position(|category| category["name"] == name)
            .unwrap_or_else(|| {
                all.push(json!({"name": name}));
                all.len() - 1
            });
        if let Some(dir) = call.text("dir") {
            // SABnzbd's sign for "no folder of the job's own", which every job has here.
            let dir = dir.trim_end_matches('*').trim_matches('/');
            all[at]["dir"] = if dir.is_empty() { Value::Null } else { json!(dir) };
        }
        if let Some(priority) = call.text("priority") {
            let priority = priority
                .parse::<i32>()
                .map_err(|_| "expects a number for the priority".to_owned())?;
            // The server's own choice is the normal one.
            all[at]["priority"] = json!(if priority == DEFAULT { 0 } else { priority });
        }
        let change = (vec!["categories".to_owned()], Some(Value::Array(all)));
        live.change(vec![change])
            .await
            .map_err(|error| format!("{error:#}"))?;
        if let Some(category) = self.category(name).filter(|category| !category.dir.is_root()) {
            super::make_folders(self.engine(), &category.dir).await;
        }
        Ok(())
    }

    pub(super) fn get_config(&self, call: &Call) -> Value {
        match call.text("section") {
            Some(section) => self.part_of_config(section, call.text("keyword")),
            None => json!({"config": self.whole_config()}),
        }
    }

    fn whole_config(&self) -> Map<String, Value> {
        let mut config = Map::new();
        config.insert("misc".to_owned(), self.misc());
        config.insert("categories".to_owned(), self.categories());
        config.insert("servers".to_owned(), self.servers());
        config.insert("sorters".to_owned(), json!([]));
        config
    }

    fn part_of_config(&self, section: &str, keyword: Option<&str>) -> Value {
        let Some(part) = self.whole_config().remove(section) else {
            return error(format!(
                "there is no section '{}'",
                super::request::shown(section)
            ));
        };
        let Some(keyword) = keyword else {
            return json!({"config": {section: part}});
        };
        let one = match part {
            Value::Object(mut values) => values.remove(keyword).map(|value| json!({keyword: value})),
            Value::Array(values) => values
                .into_iter()
                .find(|value| value["name"] == keyword)
                .map(|value| json!([value])),
            _ => None,
        };
        match one {
            Some(one) => json!({"config": {section: one}}),
            None => error(format!(
                "there is no '{}' in that section",
                super::request::shown(keyword)
            )),
        }
    }

    /// What can be set here: the speed limit, and categories. The rest is set in the configuration file.
    pub(super) async fn set_config(&self, call: &Call) -> Result<Value, StoreError> {
        let (section, keyword) = (
            call.text("section").unwrap_or_default(),
            call.text("keyword").unwrap_or_default(),
        );
        let value = call.text("value").unwrap_or_default();
        match (section, keyword) {
            ("misc", "bandwidth_perc") => {
                self.change_speed(value).await?;
                Ok(json!({"config": {"misc": {"bandwidth_perc": self.speed_limit().0}}}))
            }
            ("categories", _) => {
                // Clients name it either way.
                let name = call.text("keyword").or(call.text("name")).unwrap_or_default();
                Ok(match self.set_category(name, call).await {
                    Ok(()) => self.part_of_config("categories", Some(name)),
                    Err(why) => error(why),
                })
            }
            _ => Ok(error(format!(
                "'{}' of '{}' is set in the configuration file of this server",
                super::request::shown(keyword),
                super::request::shown(section)
            ))),
        }
    }

    pub(super) fn get_cats(&self) -> Value {
        let now = self.0.parts.categories.now();
        let names = now.iter().map(|category| category.name.as_str());
        json!({"categories": std::iter::once("*").chain(names).collect::<Vec<_>>()})
    }

    /// `mode=config`: a few things that are no configuration.
    pub(super) async fn change_config(&self, call: &Call) -> Result<Value, StoreError> {
        let value = call.text("value").unwrap_or_default();
        match call.text("name").unwrap_or_default() {
            "speedlimit" | "set_speedlimit" => self.change_speed(value).await,
            "set_pause" => match value.parse::<u32>() {
                Ok(0) => {
                    self.engine().imports().resume().await?;
                    Ok(done())
                }
                Ok(minutes) => self.pause(Some(minutes)).await,
                Err(_) => Ok(error("expects a number of minutes")),
            },
            _ => Ok(error("not implemented")),
        }
    }
}
