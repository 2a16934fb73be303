//! The SABnzbd client of Sonarr, Radarr, Lidarr, Readarr, Whisparr and Prowlarr.

use crate::coerce::{boolean, decimal, int32, int64, list, status, string, time_left};
use reqwest::{Method, redirect::Policy};
use serde_json::Value;

/// An application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Series.
    Sonarr,
    /// Films.
    Radarr,
    /// Music.
    Lidarr,
    /// Books.
    Readarr,
    /// Adult films; version 2 is a fork of Sonarr.
    Whisparr,
    /// Adult films; version 3 is a fork of Radarr.
    WhisparrV3,
    /// Indexers: it adds and never looks.
    Prowlarr,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Sonarr,
        Self::Radarr,
        Self::Lidarr,
        Self::Readarr,
        Self::Whisparr,
        Self::WhisparrV3,
        Self::Prowlarr,
    ];

    /// The category that its form has at first.
    pub fn category(self) -> &'static str {
        match self {
            Self::Sonarr => "tv",
            Self::Radarr => "movies",
            Self::Lidarr => "music",
            Self::Readarr => "Readarr",
            Self::Whisparr => "xxx",
            Self::WhisparrV3 => "whisparr",
            Self::Prowlarr => "prowlarr",
        }
    }

    /// Whether it looks at sorters.
    fn looks_at_sorters(self) -> bool {
        matches!(
            self,
            Self::Sonarr | Self::Radarr | Self::Whisparr | Self::WhisparrV3
        )
    }
}

/// How it logs in.
#[derive(Clone, Debug)]
pub enum Login {
    /// With an API key.
    Key(String),
    /// With a name and a password.
    User(String, String),
}

/// A problem that the Test button shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field of the form; empty for the form as a whole.
    pub field: String,
    /// What it says.
    pub message: String,
}

/// A job of the queue, as far as the applications read it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueItem {
    /// Its id.
    pub id: String,
    /// The release's title.
    pub title: String,
    /// Its category.
    pub category: Option<String>,
    /// One of the sixteen words.
    pub status: &'static str,
    /// What the application makes of it.
    pub state: State,
    /// Bytes.
    pub size: f64,
    /// Bytes that are to come.
    pub left: f64,
    /// Seconds.
    pub time_left: u64,
    /// Per cent.
    pub percentage: i32,
}

/// A job of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryItem {
    /// Its id.
    pub id: String,
    /// The release's title.
    pub title: String,
    /// Its category.
    pub category: Option<String>,
    /// One of the sixteen words.
    pub status: &'static str,
    /// What the application makes of it.
    pub state: State,
    /// Where it is.
    pub storage: Option<String>,
    /// Why it failed.
    pub message: Option<String>,
    /// Bytes.
    pub size: i64,
}

/// What an application takes a job for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits.
    Queued,
    /// Is held back.
    Paused,
    /// Is on its way.
    Downloading,
    /// Is to be imported.
    Completed,
    /// Is to be looked for again.
    Failed,
    /// A person is needed.
    Warning,
}

/// The answer to a poll.
#[derive(Clone, Debug, Default)]
pub struct Poll {
    /// The queue.
    pub queue: Vec<QueueItem>,
    /// The history.
    pub history: Vec<HistoryItem>,
}

/// One application's download client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Whose it is.
    pub kind: Kind,
    http: reqwest::Client,
    base: String,
    login: Login,
    category: String,
}

type Result<T> = std::result::Result<T, String>;

fn part<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name)
}

impl Client {
    /// A client of the server at `base` (with its URL base, such as `http://127.0.0.1:8080/sabnzbd`).
    ///
    /// # Panics
    /// Where there can be no HTTP client.
    pub fn new(kind: Kind, base: &str, login: Login) -> Self {
        let http = reqwest::Client::builder().redirect(Policy::none()).no_proxy();
        Self {
            kind,
            http: http.build().expect("an HTTP client"),
            base: base.trim_end_matches('/').to_owned(),
            login,
            category: kind.category().to_owned(),
        }
    }

    /// The same with another category.
    #[must_use]
    pub fn category(mut self, category: &str) -> Self {
        category.clone_into(&mut self.category);
        self
    }

    fn url(&self, mode: &str, parameters: &[(&str, &str)]) -> String {
        let mut url = format!("{}/api?mode={mode}", self.base);
        let mut add = |name: &str, value: &str| {
            url.push('&');
            url.push_str(name);
            url.push('=');
            for byte in value.bytes() {
                match byte {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                        url.push(char::from(byte))
                    }
                    byte => url.push_str(&format!("%{byte:02X}")),
                }
            }
        };
        for (name, value) in parameters {
            add(name, value);
        }
        match &self.login {
            Login::Key(key) => add("apikey", key),
            Login::User(name, password) => {
                add("ma_username", name);
                add("ma_password", password);
            }
        }
        add("output", "json");
        url
    }

    async fn send(&self, method: Method, url: String, body: Option<(String, Vec<u8>)>) -> Result<String> {
        let mut request = self
            .http
            .request(method.clone(), &url)
            .header("User-Agent", format!("{:?}/4.0.0.0 (linux 6.1)", self.kind))
            .header("Accept", "application/json")
            .header("Connection", "close");
        if method == Method::POST {
            let (kind, bytes) = body.unwrap_or_default();
            if !kind.is_empty() {
                request = request.header("Content-Type", kind);
            }
            request = request.body(bytes);
        }
        let response = request
            .send()
            .await
            .map_err(|error| format!("Unable to connect: {error}"))?;
        let code = response.status();
        let text = response.text().await.map_err(|error| error.to_string())?;
        // The body of a failure is not looked at.
        if code.as_u16() >= 400 {
            return Err(format!("HTTP request failed: [{}] [{method}]", code.as_u16()));
        }
        // Redirects are not followed: their body is read like any other.
        in_band(&text)?;
        Ok(text)
    }

    async fn call(&self, mode: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let text = self.send(Method::GET, self.url(mode, parameters), None).await?;
        object(&text)
    }

    /// The version; `None` where the answer cannot be read.
    ///
    /// # Errors
    /// Where the server says no.
    pub async fn version(&self) -> Result<Option<String>> {
        let text = self.send(Method::GET, self.url("version", &[]), None).await?;
        Ok(object(&text)
            .ok()
            .and_then(|value| string(part(&value, "version")).ok().flatten()))
    }

    /// The configuration, read as strictly as the applications read it.
    ///
    /// # Errors
    /// An exception.
    pub async fn config(&self) -> Result<Value> {
        let answer = self.call("get_config", &[]).await?;
        let config = part(&answer, "config").cloned().ok_or("no config")?;
        let misc = part(&config, "misc").ok_or("no misc")?;
        string(part(misc, "complete_dir"))?;
        boolean(part(misc, "pre_check"))?;
        string(part(misc, "history_retention"))?;
        string(part(misc, "history_retention_option"))?;
        int32(part(misc, "history_retention_number"))?;
        for flag in ["enable_tv_sorting", "enable_movie_sorting", "enable_date_sorting"] {
            boolean(part(misc, flag))?;
        }
        for names in ["tv_categories", "movie_categories"] {
            list(part(misc, names))?;
        }
        for category in list(part(&config, "categories"))? {
            int32(part(&category, "priority"))?;
            for text in ["pp", "name", "script"] {
                string(part(&category, text))?;
            }
            // A category without a folder is a NullReferenceException.
            string(part(&category, "dir"))?.ok_or("a category without dir")?;
        }
        list(part(&config, "servers"))?;
        for sorter in list(part(&config, "sorters"))? {
            boolean(part(&sorter, "is_active"))?;
            list(part(&sorter, "sort_cats"))?;
        }
        Ok(config)
    }

    /// The folder that the category's releases are in.
    ///
    /// # Errors
    /// An exception.
    pub async fn root(&self) -> Result<String> {
        let config = self.config().await?;
        let mut complete = string(config["misc"].get("complete_dir"))?.unwrap_or_default();
        if !rooted(&complete) {
            self.version().await?;
            let status = self.call("fullstatus", &[("skip_dashboard", "1")]).await?;
            complete = string(status["status"].get("completedir"))?.ok_or("no completedir")?;
        }
        let categories = list(config.get("categories"))?;
        let find = |name: &str| categories.iter().find(|category| category["name"] == name);
        let category = find(&self.category).or_else(|| find("*")).ok_or("no category")?;
        let dir = category["dir"].as_str().unwrap_or_default().trim_end_matches('*');
        if !complete.contains('\\') && dir.contains('\\') {
            return Err("Cannot combine OsPaths of different platforms".to_owned());
        }
        Ok(match dir {
            "" => complete,
            dir if rooted(dir) => dir.to_owned(),
            dir => format!("{}/{dir}", complete.trim_end_matches('/')),
        })
    }

    /// The Test button.
    pub async fn test(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |field: &str, message: String| {
            problems.push(Problem {
                field: field.to_owned(),
                message,
            });
        };
        match self.version().await {
            Err(error) => problem("Host", error),
            Ok(None) => problem("Host", "Unknown Version".to_owned()),
            Ok(Some(version)) => match parsed(&version) {
                None => problem("Host", format!("Unknown Version: {version}")),
                Some(number) if number < (0, 7, 0) => {
                    problem("Host", "Version 0.7.0+ is required".to_owned())
                }
                Some(_) => {}
            },
        }
        if let Err(error) = self.config().await {
            let lower = error.to_lowercase();
            if lower.contains("api key incorrect") || lower.contains("api key required") {
                problem("APIKey", error);
            } else {
                problem("", format!("Test was aborted due to an error: {error}"));
                return problems;
            }
        }
        let (config, root) = (self.config().await, self.root().await);
        let config = match config {
            Ok(config) => config,
            Err(error) => {
                problem("", format!("Test was aborted due to an error: {error}"));
                return problems;
            }
        };
        if let Err(error) = root {
            problem("", format!("Test was aborted due to an error: {error}"));
        }
        let categories = list(config.get("categories")).unwrap_or_default();
        match categories
            .iter()
            .find(|category| category["name"] == self.category.as_str())
        {
            Some(category) if category["dir"].as_str().unwrap_or_default().ends_with('*') => {
                problem("Category", "Enable Job folders".to_owned());
            }
            None if !self.category.is_empty() => problem("Category", "Category does not exist".to_owned()),
            _ => {}
        }
        if self.kind.looks_at_sorters() {
            for sorter in list(config.get("sorters")).unwrap_or_default() {
                let cats = list(sorter.get("sort_cats")).unwrap_or_default();
                let ours = cats.is_empty() || cats.iter().any(|cat| *cat == self.category.as_str());
                if boolean(sorter.get("is_active")) == Ok(true) && ours {
                    problem("Category", "Disable TV Sorting".to_owned());
                }
            }
        }
        let misc = &config["misc"];
        for (flag, names) in [
            ("enable_tv_sorting", "tv_categories"),
            ("enable_movie_sorting", "movie_categories"),
            ("enable_date_sorting", "date_categories"),
        ] {
            let cats = list(misc.get(names)).unwrap_or_default();
            if boolean(misc.get(flag)) == Ok(true)
                && (cats.is_empty() || cats.iter().any(|cat| *cat == self.category.as_str()))
            {
                problem("Category", "Disable Sorting".to_owned());
            }
        }
        problems
    }

    /// Whether the "removes completed downloads" warning would be shown.
    ///
    /// # Errors
    /// An exception.
    pub async fn removes_completed(&self) -> Result<bool> {
        let config = self.config().await?;
        let misc = &config["misc"];
        let option = string(misc.get("history_retention_option"))?.unwrap_or_default();
        let number = int32(misc.get("history_retention_number"))?;
        let legacy = string(misc.get("history_retention"))?.unwrap_or_default();
        Ok(match option.as_str() {
            "all" => false,
            option if option.starts_with("number-") || option.starts_with("all-") => true,
            option if option.starts_with("days-") => number < 14,
            _ if legacy.is_empty() => false,
            _ => match legacy.strip_suffix('d').and_then(|days| days.parse::<i32>().ok()) {
                Some(days) => days < 14,
                None => legacy != "0",
            },
        })
    }

    /// Sends an NZB, which is checked as the applications do before they send one: its id.
    ///
    /// # Errors
    /// An exception.
    pub async fn add(&self, title: &str, nzb: &[u8], priority: i32) -> Result<String> {
        let parameters = [
            ("cat", self.category.as_str()),
            ("priority", &priority.to_string()),
        ];
        let boundary = "-----------------------------08dcaf0123456789";
        let mut body = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"name\"; filename=\"")
            .into_bytes();
        body.extend(clean(title).as_bytes());
        body.extend(b".nzb\"\r\nContent-Type: application/x-nzb\r\n\r\n");
        body.extend(nzb);
        body.extend(format!("\r\n--{boundary}--\r\n").as_bytes());
        let kind = format!("multipart/form-data; boundary={boundary}");
        self.added(self.url("addfile", &parameters), Some((kind, body)))
            .await
    }

    /// Sends an address, as Prowlarr does.
    ///
    /// # Errors
    /// An exception.
    pub async fn add_url(&self, address: &str) -> Result<String> {
        let parameters = [
            ("name", address),
            ("cat", self.category.as_str()),
            ("priority", "-100"),
        ];
        self.added(self.url("addurl", &parameters), None).await
    }

    async fn added(&self, url: String, body: Option<(String, Vec<u8>)>) -> Result<String> {
        let text = self.send(Method::POST, url, body).await?;
        let answer = object(&text)?;
        let ids = list(part(&answer, "nzo_ids"))?;
        let first = ids
            .first()
            .ok_or("SABnzbd rejected the NZB for an unknown reason")?;
        string(Some(first))?
            .filter(|id| !id.is_empty())
            .ok_or_else(|| "an empty id".to_owned())
    }

    /// The queue and the history of the category.
    ///
    /// # Errors
    /// An exception: it loses all of it.
    pub async fn poll(&self) -> Result<Poll> {
        Ok(Poll {
            queue: self.queue().await?,
            history: self.history().await?,
        })
    }

    async fn queue(&self) -> Result<Vec<QueueItem>> {
        let mut parameters = vec![("start", "0"), ("limit", "0")];
        if !self.category.is_empty() {
            parameters.push(("category", &self.category));
        }
        let answer = self.call("queue", &parameters).await?;
        let queue = part(&answer, "queue").ok_or("no queue")?;
        let paused = boolean(part(queue, "paused"))?;
        let slots = part(queue, "slots")
            .filter(|slots| slots.is_array())
            .ok_or("slots is null")?;
        let mut items = Vec::new();
        for slot in list(Some(slots))? {
            int32(part(&slot, "index"))?;
            let status = status(part(&slot, "status"))?;
            let title = string(part(&slot, "filename"))?.ok_or("filename is null")?;
            let priority = string(part(&slot, "priority"))?.unwrap_or_default();
            let state = match status {
                "Deleted" => continue,
                "Paused" => State::Paused,
                _ if paused && priority != "Force" => State::Paused,
                "Queued" | "Grabbing" | "Propagating" => State::Queued,
                _ => State::Downloading,
            };
            items.push(QueueItem {
                id: string(part(&slot, "nzo_id"))?.ok_or("nzo_id is null")?,
                title,
                category: string(part(&slot, "cat"))?,
                status,
                state,
                size: decimal(part(&slot, "mb"))? * 1_048_576.0,
                left: decimal(part(&slot, "mbleft"))? * 1_048_576.0,
                time_left: time_left(part(&slot, "timeleft"))?,
                percentage: int32(part(&slot, "percentage"))?,
            });
        }
        items.retain(|item| self.ours(item.category.as_deref()));
        Ok(items)
    }

    async fn history(&self) -> Result<Vec<HistoryItem>> {
        let mut parameters = vec![("start", "0"), ("limit", "60")];
        if !self.category.is_empty() {
            parameters.push(("category", &self.category));
        }
        let answer = self.call("history", &parameters).await?;
        let history = part(&answer, "history")
            .filter(|history| history.is_object())
            .ok_or("history is no object")?;
        let slots = part(history, "slots")
            .filter(|slots| slots.is_array())
            .ok_or("slots is null")?;
        let mut items = Vec::new();
        for slot in list(Some(slots))? {
            int32(part(&slot, "download_time"))?;
            string(part(&slot, "nzb_name"))?;
            let status = status(part(&slot, "status"))?;
            let message = string(part(&slot, "fail_message"))?;
            let state = match status {
                "Deleted" => continue,
                "Completed" => State::Completed,
                "Failed" => match message.as_deref() {
                    Some(text)
                        if text.eq_ignore_ascii_case("Unpacking failed, write error or disk is full?") =>
                    {
                        State::Warning
                    }
                    _ => State::Failed,
                },
                _ => State::Downloading,
            };
            items.push(HistoryItem {
                id: string(part(&slot, "nzo_id"))?.ok_or("nzo_id is null")?,
                title: string(part(&slot, "name"))?.ok_or("name is null")?,
                category: string(part(&slot, "category"))?,
                status,
                state,
                storage: string(part(&slot, "storage"))?.filter(|path| !path.is_empty()),
                message,
                size: int64(part(&slot, "bytes"))?,
            });
        }
        items.retain(|item| self.ours(item.category.as_deref()));
        Ok(items)
    }

    fn ours(&self, category: Option<&str>) -> bool {
        match self.category.as_str() {
            "" => category.is_none_or(|category| category == "*"),
            ours => category == Some(ours),
        }
    }

    /// Removes a job, with its data: from the queue where it is there, else from the history.
    ///
    /// # Errors
    /// An exception.
    pub async fn remove(&self, id: &str) -> Result<()> {
        let poll = self.poll().await?;
        let queued: Vec<_> = poll.queue.iter().filter(|item| item.id == id).collect();
        if queued.len() > 1 {
            return Err("Sequence contains more than one matching element".to_owned());
        }
        if !queued.is_empty() {
            self.call("queue", &[("name", "delete"), ("del_files", "1"), ("value", id)])
                .await?;
            return Ok(());
        }
        let failed = poll
            .history
            .iter()
            .any(|item| item.id == id && item.state == State::Failed);
        let archive = if failed { "0" } else { "1" };
        self.call(
            "history",
            &[
                ("name", "delete"),
                ("del_files", "1"),
                ("value", id),
                ("archive", archive),
            ],
        )
        .await?;
        Ok(())
    }
}

/// `{"status": false, "error": ...}`, or a text that begins with `error`, is an exception.
fn in_band(text: &str) -> Result<()> {
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let fields = parsed
        .as_ref()
        .filter(|value| value.is_object())
        .and_then(|value| {
            Some((
                string(part(value, "status")).ok()?,
                string(part(value, "error")).ok()?,
            ))
        });
    match fields {
        Some((Some(status), error)) if status.eq_ignore_ascii_case("false") => Err(format!(
            "Error response received from SABnzbd: {}",
            error.unwrap_or_default()
        )),
        Some(_) => Ok(()),
        None if text.to_lowercase().starts_with("error") => Err(text.to_owned()),
        None => Ok(()),
    }
}

/// An answer's object.
fn object(text: &str) -> Result<Value> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Null) => Err("NullReferenceException".to_owned()),
        Ok(value) if value.is_object() => Ok(value),
        Ok(value) => Err(format!("not an object: {value}")),
        Err(error) => Err(format!("unparsable: {error}: {text}")),
    }
}

fn rooted(path: &str) -> bool {
    path.starts_with('/') || path.starts_with('\\') || path.as_bytes().get(1) == Some(&b':')
}

/// The first `(\d+)\.(\d+)\.(\d+|x)` of a text.
fn parsed(version: &str) -> Option<(u32, u32, u32)> {
    if version.eq_ignore_ascii_case("develop") {
        return Some((3, 0, 0));
    }
    let numbers: Vec<String> = version
        .split(|c: char| !c.is_ascii_alphanumeric())
        .map(|part| part.chars().take_while(char::is_ascii_digit).collect())
        .collect();
    let mut numbers = numbers.iter().filter_map(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next()?, numbers.next()?))
}

/// A title as a file name, as the applications clean it.
pub fn clean(title: &str) -> String {
    let title = title.replace(": ", " - ").replace(':', "-");
    let mut clean = String::new();
    for c in title.chars() {
        match c {
            '\\' | '/' => clean.push('+'),
            '?' => clean.push('!'),
            '*' => clean.push('-'),
            '<' | '>' | '|' | '"' => {}
            c => clean.push(c),
        }
    }
    clean.trim_start_matches([' ', '.']).trim_end().to_owned()
}
