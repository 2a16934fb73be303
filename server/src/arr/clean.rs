//! Downloads that are stuck in an *arr's queue: rules say which, after how long, and what is done. Only ever those that are ours,
//! by their download id.

use super::{ArrError, Arrs, Instance};
use crate::config::{QueueAction, QueueRuleSettings};
use altmount_model::JobId;
use serde_json::Value;
use std::collections::HashMap;

/// Records of one page.
const PAGE_SIZE: u64 = 500;
/// Pages that are read at most.
const MAX_PAGES: u64 = 40;

/// One download of an *arr's queue: its rows (one for each episode) together.
#[derive(Debug, Default)]
struct Waiting {
    /// The number of its first row.
    row: i64,
    /// What the *arr says of it.
    messages: Vec<String>,
    /// The things that it is for.
    item: super::kind::Item,
}

/// Whether a rule is for a download.
fn applies(rule: &QueueRuleSettings, waiting: &Waiting) -> bool {
    waiting
        .messages
        .iter()
        .any(|message| rule.message.is_match(message))
}

fn text_of(value: &Value) -> Option<String> {
    value
        .as_str()
        .map(|text| text.trim().to_lowercase())
        .filter(|text| !text.is_empty())
}

/// What an *arr says of a row: only where it says that something is wrong.
fn messages(record: &Value) -> Vec<String> {
    let status = record["trackedDownloadStatus"].as_str().unwrap_or_default();
    if !matches!(status.to_ascii_lowercase().as_str(), "warning" | "error") {
        return Vec::new();
    }
    let several = record["statusMessages"].as_array().into_iter().flatten();
    let texts = several.flat_map(|message| message["messages"].as_array().into_iter().flatten());
    texts
        .chain([&record["errorMessage"]])
        .filter_map(text_of)
        .take(100)
        .collect()
}

impl Arrs {
    /// Looks through an instance's queue, and does what the rules say. Answers how many downloads were removed.
    pub(super) async fn clean(&self, instance: &Instance) -> Result<usize, ArrError> {
        let rules = &self.settings.rules;
        let queue = read_queue(instance).await?;
        let ids: Vec<String> = queue.keys().cloned().collect();
        let store = ArrError::store;
        let ours: HashMap<String, JobId> = self.rows.ours(&ids).await.map_err(store)?.into_iter().collect();
        let mut seen = Vec::new();
        for (id, waiting) in queue.iter().filter(|(id, _)| ours.contains_key(*id)) {
            // The first rule that fits: a later one is for what is left.
            if let Some(rule) = rules.iter().find(|rule| applies(rule, waiting)) {
                seen.push((id.clone(), rule.text.clone()));
            }
        }
        let name = &instance.settings.name;
        let since = self.rows.stuck(name, seen.clone()).await.map_err(store)?;
        let now = altmount_store::now_ms();
        let mut removed = 0;
        for ((id, text), since) in seen.into_iter().zip(since) {
            let Some(rule) = rules.iter().find(|rule| rule.text == text) else {
                continue;
            };
            let grace = i64::try_from(rule.grace.as_millis()).unwrap_or(i64::MAX);
            if now.saturating_sub(since) < grace {
                continue;
            }
            let Some(waiting) = queue.get(&id) else { continue };
            if rule.action == QueueAction::BlocklistSearch {
                let job = self.imports.job(ours[&id]).await.map_err(store)?;
                let fingerprint = match job.as_ref().and_then(|job| job.release) {
                    Some(release) => self.library.fingerprint(release).await.map_err(store)?,
                    None => job.map_or_else(|| id.clone(), |job| format!("blob-{}", job.blob)),
                };
                let item = waiting.item.text();
                if self.allowed(name, &item, &id, &fingerprint, false).await.is_err() {
                    // Told in the log. It stays where a person sees it.
                    continue;
                }
            }
            let blocklist = rule.action != QueueAction::Remove;
            let search = rule.action == QueueAction::BlocklistSearch;
            let word = |is: bool| if is { "true" } else { "false" };
            let query = [
                ("removeFromClient", "true"),
                ("blocklist", word(blocklist)),
                ("skipRedownload", word(!search)),
                ("changeCategory", "false"),
            ];
            instance
                .client
                .delete(&format!("queue/{}", waiting.row), &query)
                .await?;
            tracing::info!(
                arr.name = name,
                job.nzo_id = id,
                "removed from its queue by the rule '{}'",
                rule.text
            );
            removed += 1;
        }
        Ok(removed)
    }
}

async fn read_queue(instance: &Instance) -> Result<HashMap<String, Waiting>, ArrError> {
    let names = instance.client.names;
    let mut queue: HashMap<String, Waiting> = HashMap::new();
    for page in 1..=MAX_PAGES {
        let (page_text, size) = (page.to_string(), PAGE_SIZE.to_string());
        let unknown = format!("includeUnknown{}Items", capital(names.parents));
        let query = [
            ("page", page_text.as_str()),
            ("pageSize", size.as_str()),
            (unknown.as_str(), "true"),
            ("protocol", "usenet"),
        ];
        let answer = instance.client.get("queue", &query).await?;
        let records = answer["records"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        for record in records {
            let (Some(id), Some(row)) = (record["downloadId"].as_str(), record["id"].as_i64()) else {
                continue;
            };
            let waiting = queue.entry(id.to_owned()).or_default();
            if waiting.row == 0 {
                waiting.row = row;
            }
            waiting.messages.extend(messages(record));
            let mut things = std::mem::take(&mut waiting.item.things);
            things.extend(record[names.thing].as_i64());
            waiting.item = super::kind::Item::new(record[names.parent].as_i64(), things);
        }
        let total = answer["totalRecords"].as_u64().unwrap_or(0);
        if records.is_empty() || page * PAGE_SIZE >= total {
            break;
        }
    }
    Ok(queue)
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_wrong_has_messages() {
        let record = |status: &str| {
            json!({
                "trackedDownloadStatus": status,
                "statusMessages": [{"title": "x", "messages": ["No files found are eligible for import in /x"]}],
                "errorMessage": "Sample",
            })
        };
        assert_eq!(
            messages(&record("warning")),
            ["no files found are eligible for import in /x", "sample"]
        );
        assert_eq!(messages(&record("Error")).len(), 2);
        assert!(messages(&record("ok")).is_empty());
        assert!(messages(&json!({"trackedDownloadStatus": 7, "statusMessages": "x"})).is_empty());
    }
}
