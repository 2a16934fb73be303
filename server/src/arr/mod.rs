//! The way back to the *arr applications (Sonarr, Radarr, Lidarr, Readarr, Whisparr) that use this server as a download client.
//!
//! They are told when a release can be imported ([`work`]), they tell what they did with it ([`webhook`]), they are asked to
//! replace what is no good ([`replace`]), also without anybody's asking ([`missing`]), and what is stuck in their queues is
//! cleared away by rules ([`clean`]). [`register`] makes this server known to one. What is to be done at an *arr is stored until
//! it is done; that one does not answer is no reason for anything else.

mod clean;
mod client;
mod current;
mod kind;
mod missing;
mod register;
mod replace;
mod webhook;
mod work;

pub use client::ArrError;
pub use current::{CurrentArrs, probe};
pub use kind::usual_category;
pub(crate) use register::is_webhook;
pub use register::{RegisterError, Registered};
pub use replace::{Accepted, ReplaceError};
pub use webhook::Heard;

use crate::config::{ArrInstanceSettings, ArrSettings, OutputSettings};
use altmount_engine::{
    Arrs as Rows, Engine, Event, Health, ImportService, Job, JobState, Keys, Library, Outputs as OutputRows,
    StoreError,
};
use altmount_store::now_ms;
use client::Client;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, broadcast::error::RecvError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use work::Work;

/// How long several releases of one moment are waited for, before an *arr is told of them all, in ms.
const GATHER_MS: i64 = 2000;
/// For a look at a folder that may be a share; and the shortest time between two looks at a queue.
const LOOK: Duration = Duration::from_secs(2);

/// One *arr.
#[derive(Debug)]
struct Instance {
    settings: ArrInstanceSettings,
    client: Client,
    wake: Notify,
    last: Mutex<Last>,
}

/// How an instance answered last. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// When it last answered as it should.
    pub answered_ms: Option<i64>,
    /// What it said last, where that was a failure.
    pub error: Option<String>,
}

impl Instance {
    fn note<T>(&self, done: &Result<T, ArrError>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match done {
            Ok(_) => {
                *last = Last {
                    answered_ms: Some(now_ms()),
                    error: None,
                };
            }
            Err(error) => last.error = Some(error.to_string()),
        }
    }

    fn last(&self) -> Last {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The category that it is to send.
    fn category(&self) -> String {
        let first = self.settings.categories.first().cloned();
        first.unwrap_or_else(|| self.client.names.usual_category.to_owned())
    }

    /// Whether jobs of a category are its own.
    fn has(&self, category: &str) -> bool {
        match self.settings.categories.as_slice() {
            [] => category == self.client.names.usual_category,
            several => several.iter().any(|own| own == category),
        }
    }
}

/// What an instance is like now.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its settings.
    pub settings: ArrInstanceSettings,
    /// How it answered last.
    pub last: Last,
    /// How many things are to be done there.
    pub waiting: u64,
    /// The category that it is to send.
    pub category: String,
    /// The number of its key, where it has one.
    pub key: Option<i64>,
}

/// The *arr applications of the configuration.
#[derive(Debug)]
pub struct Arrs {
    settings: ArrSettings,
    places: OutputSettings,
    instances: Vec<Instance>,
    rows: Rows,
    outputs: OutputRows,
    library: Library,
    imports: ImportService,
    health: Health,
    keys: Keys,
}

impl Arrs {
    /// The instances of the configuration; nothing is done before [`Self::run`].
    ///
    /// # Errors
    /// Where an HTTP client cannot be made.
    pub fn new(engine: &Engine, settings: ArrSettings, places: OutputSettings) -> anyhow::Result<Arc<Self>> {
        let instances = settings.instances.iter().map(|instance| {
            Ok::<_, reqwest::Error>(Instance {
                client: Client::new(instance)?,
                settings: instance.clone(),
                wake: Notify::new(),
                last: Mutex::default(),
            })
        });
        Ok(Arc::new(Self {
            instances: instances.collect::<Result<_, _>>()?,
            settings,
            places,
            rows: engine.arrs(),
            outputs: engine.outputs(),
            library: engine.library().clone(),
            imports: engine.imports().clone(),
            health: engine.health().clone(),
            keys: engine.keys(),
        }))
    }

    /// Does what is to be done until `stop`, in tasks of `tasks`.
    pub fn run(self: &Arc<Self>, engine: &Engine, tasks: &TaskTracker, stop: &CancellationToken) {
        for at in 0..self.instances.len() {
            tasks.spawn(Arc::clone(self).serve(at, stop.clone()));
        }
        if !self.instances.is_empty() {
            tasks.spawn(Arc::clone(self).listen(engine.events(), stop.clone()));
            tasks.spawn(Arc::clone(self).look_at_queues(stop.clone()));
            if self.settings.replace_missing {
                tasks.spawn(Arc::clone(self).replace_missing(engine.events(), stop.clone()));
            }
        }
    }

    fn instance(&self, name: &str) -> Option<&Instance> {
        self.instances
            .iter()
            .find(|instance| instance.settings.name == name)
    }

    /// Tells the instances of a job's category when there is something for them to look at.
    async fn listen(
        self: Arc<Self>,
        mut events: tokio::sync::broadcast::Receiver<Event>,
        stop: CancellationToken,
    ) {
        while let Some(event) = stop.run_until_cancelled(events.recv()).await {
            let told = match event {
                Ok(
                    Event::Published { id, .. }
                    | Event::Job {
                        id,
                        state: JobState::Failed,
                        ..
                    },
                ) => match self.imports.job(id).await {
                    Ok(Some(job)) => self.refresh(|instance| job_is_of(&job, instance)).await,
                    Ok(None) => Ok(()),
                    Err(error) => Err(error),
                },
                Ok(_) => Ok(()),
                // What was missed may have been for any of them.
                Err(RecvError::Lagged(_)) => self.refresh(|_| true).await,
                Err(RecvError::Closed) => return,
            };
            if let Err(error) = told {
                tracing::error!("an *arr cannot be told of an import: {error}");
            }
        }
    }

    async fn refresh(&self, of: impl Fn(&Instance) -> bool) -> Result<(), StoreError> {
        for instance in self.instances.iter().filter(|instance| of(instance)) {
            let name = &instance.settings.name;
            self.wish(name, "refresh", &Work::Refresh, GATHER_MS).await?;
        }
        Ok(())
    }

    /// The instances as they are now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn status(&self) -> Result<Vec<Status>, StoreError> {
        let keys = self.keys.list();
        let mut all = Vec::with_capacity(self.instances.len());
        for instance in &self.instances {
            let name = register::key_name(&instance.settings.name);
            let key = keys
                .iter()
                .find(|key| key.name == name && key.revoked_ms.is_none());
            let last = instance.last();
            all.push(Status {
                settings: instance.settings.clone(),
                last,
                waiting: self.rows.waiting(&instance.settings.name).await?,
                category: instance.category(),
                key: key.map(|key| key.id),
            });
        }
        Ok(all)
    }

    /// How many more releases may be replaced before the brake holds.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn replacements_left(&self) -> Result<u64, StoreError> {
        let limits = self.settings.limits;
        let recent = self.rows.recent_replacements(limits.brake_window_ms).await?;
        Ok(u64::from(limits.brake).saturating_sub(recent))
    }

    /// Looks whether an instance answers, takes the key and is what it is said to be: its version. `None` where there is no such
    /// instance.
    pub async fn test(&self, name: &str) -> Option<Result<String, ArrError>> {
        let instance = self.instance(name)?;
        let tested = instance.client.test().await;
        instance.note(&tested);
        Some(tested)
    }

    /// Makes this server known to an instance. `None` where there is no such instance.
    pub async fn register(&self, name: &str) -> Option<Result<Registered, RegisterError>> {
        let instance = self.instance(name)?;
        Some(register::register(instance, self.settings.own_url.as_ref(), &self.keys).await)
    }

    /// Makes the key of an instance open nothing any more, whether or not there still is such an instance.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn revoke(&self, name: &str) -> Result<(), StoreError> {
        for key in self.keys_of(name) {
            self.keys.revoke(key).await?;
        }
        Ok(())
    }

    /// Gives the instance `to` what is known of it under the name that it had: its key, what is to be done there, and what it has.
    /// Whether it has a key.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn renamed(&self, from: &str, to: &str) -> Result<bool, StoreError> {
        // A key of that name is of an instance that is not there any more.
        self.revoke(to).await?;
        let keys = self.keys_of(from);
        for key in &keys {
            self.keys.rename(*key, &register::key_name(to)).await?;
        }
        self.rows.rename(from, to).await?;
        if let Some(instance) = self.instance(to) {
            instance.wake.notify_one();
        }
        Ok(!keys.is_empty())
    }

    /// The keys of an instance that open something.
    fn keys_of(&self, name: &str) -> Vec<i64> {
        let name = register::key_name(name);
        let all = self.keys.list().into_iter();
        all.filter(|key| key.name == name && key.revoked_ms.is_none())
            .map(|key| key.id)
            .collect()
    }

    /// Whether a secret is the key of an instance; `false` where there is no such instance.
    pub fn admits(&self, name: &str, secret: &str) -> bool {
        self.instance(name).is_some()
            && self
                .keys
                .authenticate(secret)
                .is_some_and(|key| key.name == register::key_name(name))
    }

    /// Whether any instance has a file of a job, by what it told.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn holds(&self, job: &Job) -> Result<bool, StoreError> {
        self.rows.holds(&job.nzo_id).await
    }
}

fn job_is_of(job: &Job, instance: &Instance) -> bool {
    job.category
        .as_deref()
        .is_some_and(|category| instance.has(category))
}
