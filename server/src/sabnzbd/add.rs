//! `addfile`, `addurl`, `addlocalfile`.

use super::{
    Sabnzbd,
    answer::error,
    nzb::{self, Received},
    queue::{DEFAULT, PAUSED, priority_of},
    request::{Call, SentFile, shown},
};
use altmount_engine::{Passwords, SubmitError, SubmitRequest};
use altmount_model::VPath;
use serde_json::{Value, json};

/// Longest address.
pub(super) const MAX_URL: usize = 8192;

/// What a call wants of the jobs that it adds.
struct Wish {
    category: Option<String>,
    folder: VPath,
    priority: i32,
    paused: bool,
    passwords: Vec<String>,
    name: Option<String>,
}

impl Wish {
    fn apply(self, request: &mut SubmitRequest) {
        request.category = self.category;
        request.folder = self.folder;
        request.priority = self.priority;
        request.paused = self.paused;
        request.passwords = Passwords::from(self.passwords);
        request.name = self.name;
    }
}

fn accepted(names: Vec<String>) -> Value {
    json!({"status": true, "nzo_ids": names})
}

/// `{"status": false}` as for a file that a SABnzbd refuses, with the reason, which clients log.
fn refused(why: impl Into<String>) -> Value {
    let mut answer = error(why);
    answer["nzo_ids"] = json!([]);
    answer
}

impl Sabnzbd {
    /// What the call says of its jobs.
    ///
    /// # Errors
    /// The category is not one of ours: filed under another one, no client would ever see the job.
    fn wish(&self, call: &Call) -> Result<Wish, String> {
        let named = call.text("cat").or(call.text("category")).unwrap_or("*");
        let category = match named {
            "*" | "Default" | "default" | "None" => None,
            name => Some(self.category(name).ok_or_else(|| {
                format!(
                    "there is no category '{}'; add it to 'categories' in the configuration",
                    shown(name)
                )
            })?),
        };
        let wanted = call.text("priority").and_then(priority_of).unwrap_or(DEFAULT);
        Ok(Wish {
            priority: self.priority(wanted, category.as_ref().map(|category| category.name.as_str())),
            paused: wanted == PAUSED,
            folder: category
                .as_ref()
                .map_or_else(VPath::root, |category| category.dir.clone()),
            category: category.map(|category| category.name),
            passwords: call.text("password").map(str::to_owned).into_iter().collect(),
            name: call.text("nzbname").map(str::to_owned),
        })
    }

    pub(super) async fn add_file(&self, call: &Call) -> Value {
        // Clients name the part `name` or `nzbfile`; whatever it is called, a part with a file name is the file.
        if call.files.is_empty() {
            return refused("there is no file in the request");
        }
        let (mut requests, mut reason) = (Vec::new(), None);
        for file in &call.files {
            match self.requests_of(call, file).await {
                Ok(more) => requests.extend(more),
                Err(why) => {
                    tracing::warn!("a file that was sent is not queued: {why}");
                    reason.get_or_insert(why);
                }
            }
        }
        if let (true, Some(why)) = (requests.is_empty(), reason) {
            return refused(why);
        }
        // In one step: a client that gets no answer sends all of it again.
        match self.engine().imports().submit_all(requests).await {
            Ok(jobs) => accepted(jobs.into_iter().map(|job| job.nzo_id).collect()),
            Err(error) => refused(plain(&error)),
        }
    }

    /// What is to be queued of a file that was sent: more than one where it is a ZIP.
    async fn requests_of(&self, call: &Call, file: &SentFile) -> Result<Vec<SubmitRequest>, String> {
        let bytes = file.bytes.clone()?;
        // Looked at first, so that a call with a wrong category costs nothing.
        self.wish(call)?;
        let (name, nzbname) = (file.name.clone(), call.text("nzbname").map(str::to_owned));
        let limit = self.0.parts.max_file;
        let unpacked =
            tokio::task::spawn_blocking(move || nzb::unpack(&name, bytes, nzbname.as_deref(), limit)).await;
        let found = unpacked.map_err(|error| format!("the file cannot be looked at: {error}"))??;
        let requests = found.into_iter().map(|one| {
            let mut wish = self.wish(call)?;
            wish.name = Some(one.name.clone());
            Ok(request_of(one, wish))
        });
        requests.collect()
    }

    pub(super) async fn add_url(&self, call: &Call) -> Value {
        let Some(url) = call.text("name") else {
            return refused("expects one parameter");
        };
        let mut wish = match self.wish(call) {
            Ok(wish) => wish,
            Err(why) => return refused(why),
        };
        let parsed = url::Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(parsed) = parsed.filter(|_| url.len() <= MAX_URL) else {
            return refused("the address is none that can be fetched; it begins with http:// or https://");
        };
        if let Err(why) = super::fetch::literal_allowed(&parsed, self.settings()) {
            return refused(why);
        }
        if let Some(name) = wish.name.take() {
            let (name, password) = nzb::job_name(&name, None);
            wish.passwords.extend(password);
            wish.name = Some(name);
        }
        let mut request = SubmitRequest::url(parsed);
        wish.apply(&mut request);
        match self.engine().imports().submit(request).await {
            Ok(job) => accepted(vec![job.nzo_id]),
            Err(why) => refused(plain(&why)),
        }
    }

    pub(super) async fn add_local_file(&self, call: &Call) -> Value {
        let Some(path) = call.text("name") else {
            return refused("expects one parameter");
        };
        let wish = match self.wish(call) {
            Ok(wish) => wish,
            Err(why) => return refused(why),
        };
        let file_name = path.rsplit('/').next().unwrap_or(path);
        let (name, password) = nzb::job_name(file_name, wish.name.as_deref());
        let mut request = SubmitRequest::path(path, None);
        let mut wish = Wish {
            name: Some(name),
            ..wish
        };
        wish.passwords.extend(password);
        wish.apply(&mut request);
        match self.engine().imports().submit(request).await {
            Ok(job) => accepted(vec![job.nzo_id]),
            Err(why) => refused(plain(&why)),
        }
    }
}

/// A request for an NZB that is here.
fn request_of(one: Received, mut wish: Wish) -> SubmitRequest {
    let mut request = SubmitRequest::upload(one.file_name, one.bytes);
    request.bytes = one.size;
    request.origin.posted_ms = one.posted_ms;
    wish.passwords.extend(one.password);
    wish.apply(&mut request);
    request
}

/// A refusal in words, without what is this server's own.
fn plain(error: &SubmitError) -> String {
    match error {
        SubmitError::Internal { .. } => {
            tracing::error!("a file cannot be queued: {error}");
            "the server failed; its log has the cause".to_owned()
        }
        error => error.to_string(),
    }
}
