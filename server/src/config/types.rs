//! The configuration tree. The doc comments are the reference page and the sample file: both are generated from here.

mod operations;

pub use operations::*;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

/// The whole configuration. Every key has a default, so an empty file is a valid one.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The HTTP server: API, WebDAV and streams have one port.
    pub server: Server,
    /// News servers. None is needed to start; articles are read from these.
    pub providers: Vec<Provider>,
    /// How articles are asked for, over all news servers.
    pub news: News,
    /// The import queue.
    pub import: Import,
    /// What is kept of what was read, and what is fetched before it is.
    pub cache: Cache,
    /// The download client that Sonarr, Radarr and the like see.
    pub sabnzbd: Sabnzbd,
    /// Categories of the download client, beside `*`, which is always there. Their names are compared letter by letter.
    pub categories: Vec<Category>,
    /// The library as a WebDAV folder, at `/webdav`.
    pub webdav: Webdav,
    /// The library as a folder of this machine (FUSE).
    pub mount: Mount,
    /// Folders from which files are queued by themselves.
    pub watch: Watch,
    /// What is kept of the library beside what is in it.
    pub library: Library,
    /// Files that lack articles.
    pub health: Health,
    /// How a finished release reaches a library beside the mount and WebDAV.
    pub outputs: Outputs,
    /// Sonarr, Radarr, Lidarr, Readarr and Whisparr: what they are told, and what they tell.
    pub arr: Arr,
    /// Importers.
    pub plugins: Plugins,
    /// Files whose bytes lie on web servers (`.strm`, `.url`, link lists).
    pub http_sources: HttpSources,
    /// Copies of everything that a new server needs to be this one, made by themselves.
    pub backup: Backup,
    /// Who is told what happened.
    pub notify: Notify,
    /// Figures for Prometheus.
    pub metrics: Metrics,
    /// Traces for an OpenTelemetry collector.
    pub telemetry: Telemetry,
    /// What is logged, to standard error.
    pub log: Log,
}

/// The HTTP server.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port to listen on. `--listen` goes before it.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// How many connections may be open at once; further ones wait to be accepted.
    pub max_connections: u32,
    /// Largest body of an API request, in bytes.
    pub max_body_bytes: u32,
    /// How long a client may take to send a request's head, and then its body.
    pub receive_timeout_seconds: u32,
    /// A connection on which no byte goes in either direction for this long is closed. A stream that moves is never
    /// cut, however long it takes.
    pub idle_timeout_seconds: u32,
    /// How long running requests and imports may take to end after SIGTERM or SIGINT.
    pub shutdown_seconds: u32,
    /// The path that everything is below, where a proxy shows the server below one: `/altmount`. It makes no difference
    /// whether the proxy cuts it off.
    pub base_path: String,
    /// Addresses and networks (`10.0.0.0/8`) of proxies whose `X-Forwarded-For`, `X-Forwarded-Proto` and
    /// `forward_auth_header` are believed. Nobody is where the list is empty.
    pub trusted_proxies: Vec<String>,
    /// Header in which a trusted proxy says who has logged in there, such as `Remote-User`; that person needs no password
    /// here. The proxy must drop the header from what clients send.
    pub forward_auth_header: Option<String>,
    /// How long somebody who does not use the page stays logged in, in days.
    pub session_days: u32,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            max_connections: 1024,
            max_body_bytes: 1 << 20,
            receive_timeout_seconds: 30,
            idle_timeout_seconds: 300,
            shutdown_seconds: 20,
            base_path: String::new(),
            trusted_proxies: Vec::new(),
            forward_auth_header: None,
            session_days: 30,
        }
    }
}

/// One news server.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// Name in logs and status; the host where it is left out. Unique.
    pub name: Option<String>,
    /// Host name or address. Required.
    pub host: String,
    /// Port; 563 with TLS and 119 without it where it is left out.
    pub port: Option<u16>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Accepts any certificate. For a private server only: whoever sits between can read the password.
    pub tls_insecure: bool,
    /// User name, where the server wants one.
    pub username: Option<String>,
    /// Password.
    #[serde(serialize_with = "redacted")]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// How many connections to open at most.
    pub max_connections: u16,
    /// Who is asked first: the lowest number.
    pub priority: u8,
    /// Providers of one group share a backbone: an article that one of them does not have is not asked of the others.
    /// The provider is a group of its own where it is left out.
    pub group: Option<String>,
    /// Asked only for what no other provider has.
    pub backup: bool,
    /// Whether it is used.
    pub enabled: bool,
    /// How many connections to keep open while nothing is asked of them.
    pub min_connections: u16,
    /// How many article requests are on their way on one connection at once. Where it is left out, as many as the
    /// connection's measured delay and bandwidth ask for.
    pub pipeline_body: Option<u8>,
    /// The most that are, where `pipeline_body` is left out.
    pub pipeline_body_max: u8,
    /// How many existence checks are on their way on one connection at once.
    pub pipeline_stat: u8,
    /// How many bytes may be received in each period. It is not asked beyond; what is on its way still comes.
    pub quota_bytes: Option<u64>,
    /// When that starts again: at midnight, on Monday, on the first of the month; all UTC.
    pub quota_period: QuotaPeriod,
    /// How many days the server keeps articles. Reads do not ask it for what was posted before, and conclude nothing from that;
    /// the few articles that an import looks at by their ids alone are asked of it all the same. Any age where it is left out.
    pub retention_days: Option<u32>,
    /// How long connecting may take, TLS and login included.
    pub connect_timeout_seconds: u32,
    /// How long the server may take to start an answer.
    pub first_byte_timeout_seconds: u32,
    /// How long an answer may stand still once it started.
    pub stall_timeout_seconds: u32,
    /// How long one answer may take as a whole.
    pub article_timeout_seconds: u32,
    /// A connection that is not used for this long is closed.
    pub idle_timeout_seconds: u32,
}

impl Default for Provider {
    fn default() -> Self {
        Self {
            name: None,
            host: String::new(),
            port: None,
            tls: true,
            tls_insecure: false,
            username: None,
            password: None,
            max_connections: 8,
            priority: 0,
            group: None,
            backup: false,
            enabled: true,
            min_connections: 0,
            pipeline_body: None,
            pipeline_body_max: 8,
            pipeline_stat: 100,
            quota_bytes: None,
            quota_period: QuotaPeriod::Month,
            retention_days: None,
            connect_timeout_seconds: 10,
            first_byte_timeout_seconds: 10,
            stall_timeout_seconds: 8,
            article_timeout_seconds: 60,
            idle_timeout_seconds: 60,
        }
    }
}

/// The period of a news server's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuotaPeriod {
    /// A day.
    Day,
    /// A week.
    Week,
    /// A month of the calendar.
    #[default]
    Month,
}

/// How articles are asked for, over all news servers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct News {
    /// How long one article may take over all news servers. Then nothing is known of it.
    pub request_timeout_seconds: u32,
    /// A read fails where it was given nothing for this long, whatever was tried meanwhile. While bytes of the article keep coming it
    /// waits on; a second without one ends that. A player so has data or an error within ten seconds.
    pub demand_timeout_seconds: u32,
    /// Of 100 requests that are sent, those that imports get at least while somebody watches; 0 to 50.
    pub import_percent: u8,
    /// The same for health checks.
    pub health_percent: u8,
    /// The same for repairs.
    pub repair_percent: u8,
    /// An article for a reader of which no byte has come after this time, and after twice the usual time, is asked for
    /// again on another connection. The first answer that is whole is taken.
    pub hedge_after_ms: u32,
    /// Of 100 bytes received, those that may be of articles that came twice by that. 0 never asks twice.
    pub hedge_percent: u8,
    /// How long a reader takes a group's word that it does not have an article. Imports and health checks always ask.
    pub missing_ttl_seconds: u32,
    /// For how many articles that is remembered, over restarts too.
    pub missing_entries: u32,
    /// For so long after an article was missing somewhere, other groups are asked whether they have an article that is
    /// waited for while the first is asked for it.
    pub probe_after_missing_seconds: u32,
    /// How many connections are made at once where somebody opens a file.
    pub warm_connections: u16,
    /// How many requests of one class may wait or be under way.
    pub queue_limit: u32,
    /// The longest decoded article, in bytes; a longer one counts as corrupt.
    pub max_article_bytes: u32,
    /// Memory of articles that are gone which is kept for articles to come, in bytes.
    pub spare_bytes: u32,
}

impl Default for News {
    fn default() -> Self {
        Self {
            request_timeout_seconds: 120,
            demand_timeout_seconds: 8,
            import_percent: 6,
            health_percent: 3,
            repair_percent: 2,
            hedge_after_ms: 100,
            hedge_percent: 5,
            missing_ttl_seconds: 1800,
            missing_entries: 65_536,
            probe_after_missing_seconds: 60,
            warm_connections: 4,
            queue_limit: 16_384,
            max_article_bytes: 16 << 20,
            spare_bytes: 16 << 20,
        }
    }
}

/// The import queue.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Import {
    /// How many imports run at once.
    pub workers: u16,
    /// Folders that a queued file must lie in, after symbolic links are resolved. Any folder where the list is empty.
    pub allowed_roots: Vec<PathBuf>,
    /// What becomes of the queued file after its import succeeded. After a failure it always stays.
    pub source_file: SourceFile,
    /// How much of an NZB's articles is asked for before the release counts as complete. `plugins.config.nzb.check` goes
    /// before it.
    pub check: Check,
    /// Globs of files that are not listed in the library, matched against path and name, whatever the case. They are kept with
    /// the release. `plugins.config.nzb.ignore` goes before it.
    pub ignore: Vec<String>,
    /// What becomes of an NZB of which articles are missing that listed files need. `plugins.config.nzb.damage` goes before it,
    /// and `max_hole_bytes` and `max_hole_permille` beside that are the limits of `tolerant`.
    pub damage: Damage,
    /// Lists `.par2`, `.sfv` and the like in the library too. They are kept with the release in any case.
    pub list_sidecars: bool,
    /// Passwords that are tried for every encrypted release, in order, after those that came with it.
    #[serde(serialize_with = "all_redacted")]
    #[schemars(with = "Vec<String>")]
    pub passwords: Vec<SecretString>,
    /// Largest queued file, in bytes.
    pub max_source_bytes: u64,
    /// Bytes of queued files that may be in memory at once while they are taken in; a single file always fits.
    pub submit_memory_bytes: u64,
    /// How often an import is tried in all, where its error says that trying again can help.
    pub max_attempts: u32,
    /// The wait before the second attempt; doubled with each further one.
    pub retry_base_seconds: u32,
    /// The longest wait before an attempt.
    pub retry_cap_seconds: u32,
    /// How long a claimed job stays claimed without a sign of life.
    pub lease_seconds: u32,
    /// What one import may use; past a limit it fails with the kind `limit`.
    pub limits: Limits,
}

impl Default for Import {
    fn default() -> Self {
        Self {
            workers: 2,
            allowed_roots: Vec::new(),
            source_file: SourceFile::Keep,
            check: Check::Sample,
            ignore: Vec::new(),
            damage: Damage::Strict,
            list_sidecars: false,
            passwords: Vec::new(),
            max_source_bytes: 256 << 20,
            submit_memory_bytes: 128 << 20,
            max_attempts: 5,
            retry_base_seconds: 10,
            retry_cap_seconds: 3600,
            lease_seconds: 30,
            limits: Limits::default(),
        }
    }
}

/// What becomes of a queued file after its import succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceFile {
    /// It stays where it is.
    #[default]
    Keep,
    /// It is deleted.
    Delete,
}

/// What becomes of a release with missing articles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// The import fails.
    #[default]
    Strict,
    /// The holes are recorded and read as zero bytes, up to limits, and the job is marked degraded.
    Tolerant,
}

/// How much of a release is asked for before it counts as complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Only what is read anyway: the first article of each file.
    None,
    /// The last article of each file and some between.
    #[default]
    Sample,
    /// Every article.
    Full,
}

/// What one import may use.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Virtual files.
    pub max_files: u32,
    /// Nodes of all content graphs together.
    pub max_nodes: u32,
    /// Articles of all files together.
    pub max_articles: u32,
    /// Bytes read through the host, the queued file aside.
    pub max_bytes_read: u64,
    /// Reads and article requests at once; further ones wait.
    pub max_in_flight: u32,
    /// From the start of the import until everything is verified.
    pub wall_time_seconds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_files: 100_000,
            max_nodes: 4 << 20,
            max_articles: 4 << 20,
            max_bytes_read: 16 << 30,
            max_in_flight: 64,
            wall_time_seconds: 3600,
        }
    }
}

/// What is kept of what was read, and what is fetched before it is.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Memory for decoded articles, in bytes. What was read a moment ago, and what read-ahead fetched, is here. With 0
    /// nothing is kept in memory.
    pub memory_bytes: u64,
    /// Room on disk for decoded articles, in bytes; 0 for none, and so the cache is in memory alone. What was read stays over
    /// a restart, and the heads and tails of imported media are kept before all else. A slow or full disk slows nothing down.
    pub disk_bytes: u64,
    /// The folder of the cache on disk, for it alone; `cache` in the data directory where it is left out.
    pub disk_folder: Option<PathBuf>,
    /// Most bytes that may wait to be written to that disk; what comes when there are more is not kept.
    pub disk_queue_bytes: u64,
    /// Longest wait for that disk in milliseconds; then the article is fetched, and the disk is left alone for ten seconds.
    pub disk_timeout_ms: u32,
    /// How far ahead of one sequential reader articles are fetched, in bytes. With 0 nothing is fetched ahead.
    pub read_ahead_bytes: u64,
    /// The same for all readers together. Where they want more they take turns.
    pub read_ahead_total_bytes: u64,
    /// How much a reader reads in order before anything is fetched ahead for it, in bytes.
    pub read_ahead_after_bytes: u64,
    /// How long what is fetched ahead lasts a reader, in seconds, at the rate at which it reads.
    pub read_ahead_seconds: u32,
    /// A reader that does not read for this long loses what was fetched ahead for it, and what is on its way, in seconds.
    pub read_ahead_idle_seconds: u32,
    /// When bytes of an article are given out: `off`: when all of it is here and its checksum is right. `held`: to HTTP and WebDAV
    /// while it is arriving, but for its last bytes and those of the answer; an answer of a damaged article breaks off, and
    /// may have had wrong bytes before that. `free`: to the mount too, where a short read may be of a damaged copy. `held` is
    /// the default because a player waits for the first byte, and would wait for a whole article: 130 ms instead of 50 on a
    /// usual line, more than a second with articles of 4 MiB; it drops what an answer that broke off brought. A client that
    /// keeps that and goes on behind it (a download manager, `rclone` with a cache) is to be served with `off`.
    pub early_delivery: EarlyDelivery,
    /// Memory for the article tables of open files, in bytes.
    pub tables_bytes: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            disk_bytes: 0,
            disk_folder: None,
            disk_queue_bytes: 32 << 20,
            disk_timeout_ms: 100,
            read_ahead_bytes: 160 << 20,
            read_ahead_total_bytes: 160 << 20,
            read_ahead_after_bytes: 128 << 10,
            read_ahead_seconds: 2,
            read_ahead_idle_seconds: 2,
            early_delivery: EarlyDelivery::Held,
            tables_bytes: 64 << 20,
        }
    }
}

/// The download client that Sonarr, Radarr and the like see: the API of SABnzbd. Served at `/api` and below `url_base`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sabnzbd {
    /// Whether it is there.
    pub enabled: bool,
    /// The path in front of `/api`, what clients call the URL base. It is served at `/api` in any case.
    pub url_base: String,
    /// The version that clients are told; they look for what they can use.
    pub version: String,
    /// How many jobs of the history are shown where a client does not say how many.
    pub history_limit: u32,
    /// How fast imports may be in bytes a second, where no client has set a limit; 0 for as fast as it goes. Limits in per
    /// cent are of this.
    pub max_bytes_per_second: u64,
    /// Whether the speed limit is for streams too.
    pub limit_streams: bool,
    /// Hosts that NZBs may be fetched from (`addurl`) although their address is one of a private network: names or addresses.
    pub fetch_allow: Vec<String>,
    /// How long fetching an NZB may take.
    pub fetch_timeout_seconds: u32,
    /// How many redirects are followed when an NZB is fetched.
    pub fetch_max_redirects: u8,
    /// Whether another NZB is fetched in the place of one that failed, where the indexer named one (`X-DNZB-Failure`) on its own
    /// host, or on one of `fetch_allow`. The applications look for another one by themselves.
    pub new_nzb_on_failure: bool,
}

impl Default for Sabnzbd {
    fn default() -> Self {
        Self {
            enabled: true,
            url_base: "/sabnzbd".to_owned(),
            version: "4.5.1".to_owned(),
            history_limit: 100,
            max_bytes_per_second: 0,
            limit_streams: false,
            fetch_allow: Vec::new(),
            fetch_timeout_seconds: 60,
            fetch_max_redirects: 5,
            new_nzb_on_failure: false,
        }
    }
}

/// A category of the download client.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Category {
    /// Its name. Required.
    pub name: String,
    /// The folder of the library that its releases are put in; one of its name where it is left out.
    pub dir: Option<String>,
    /// The priority of its jobs, where a client leaves it to the server: -1 low, 0 normal, 1 high, 2 at once, also while the
    /// queue is paused.
    pub priority: i8,
    /// How much of its NZBs is asked for before a release counts as complete; as `import.check` says where it is left out.
    pub check: Option<Check>,
}

/// When bytes of an article are given out. Whatever is chosen, only what is whole and right is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EarlyDelivery {
    /// When all of the article is here and its checksum is right.
    Off,
    /// To HTTP and WebDAV while the article is arriving. Its last bytes, and the last bytes of the answer, wait for the
    /// checksum: an answer that came to its end has had no wrong byte, and one of a damaged article breaks off.
    #[default]
    Held,
    /// To HTTP, WebDAV and the mount while the article is arriving; only its own last bytes wait for the checksum. A short
    /// read in a long article is answered sooner, and may be of a damaged copy.
    Free,
}

/// The library as a WebDAV folder.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Webdav {
    /// Whether `/webdav` is there.
    pub enabled: bool,
    /// User name (Basic authentication).
    pub user: String,
    /// Password. Where it is left out, the one in the file `webdav.password` of the data directory, which is
    /// generated at the first start.
    #[serde(serialize_with = "redacted")]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
}

impl Default for Webdav {
    fn default() -> Self {
        Self {
            enabled: true,
            user: "altmount".to_owned(),
            password: None,
        }
    }
}

/// The library as a folder of this machine (FUSE). Linux only.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mount {
    /// The folder, an empty one, which is made where it is not there. Nothing is mounted where it is left out. `altmount
    /// mount PATH` goes before it.
    pub path: Option<PathBuf>,
    /// Whether users other than the server's may use the mount. For a server that is not root, `user_allow_other` must
    /// be in `/etc/fuse.conf`.
    pub allow_other: bool,
    /// Number of the user that everything belongs to, what `outputs` makes included; the server's where it is left out.
    pub uid: Option<u32>,
    /// Number of the group that everything belongs to, what `outputs` makes included; the server's where it is left out.
    pub gid: Option<u32>,
    /// How long the kernel keeps names and attributes. It is told of every change at once; this is for the case that it
    /// cannot be.
    pub cache_seconds: u32,
    /// How long a read may take before it fails. A process that waits for a read cannot be killed before.
    pub read_timeout_seconds: u32,
}

impl Default for Mount {
    fn default() -> Self {
        Self {
            path: None,
            allow_other: false,
            uid: None,
            gid: None,
            cache_seconds: 60,
            read_timeout_seconds: 60,
        }
    }
}

/// What is kept of the library beside what is in it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Library {
    /// How long what was deleted can be had back, in days; with 0 only what is deleted on the page and over the API is in the
    /// trash, for up to an hour.
    pub trash_days: u32,
    /// Whether what programs delete over WebDAV and the mount, and what goes because an *arr deleted it, is in the trash too.
    pub trash_all: bool,
}

impl Default for Library {
    fn default() -> Self {
        Self {
            trash_days: 14,
            trash_all: true,
        }
    }
}

/// How a finished release reaches a library beside the mount and WebDAV.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Outputs {
    /// What is made for a release, and which of it download clients are told of: the first. `mount`: nothing, the release is
    /// where the library is mounted. `symlinks`: links into the mount. `strm`: text files with signed addresses. `copy`: the
    /// bytes, downloaded.
    pub default: Vec<OutputWay>,
    /// The same for releases of a category, by its name.
    pub categories: BTreeMap<String, Vec<OutputWay>>,
    /// The folder at which others mount the library (WebDAV, `rclone`), where this server does not: `mount.path` goes before
    /// it. Where this machine has the folder, a release counts as completed when it is seen there.
    pub library_path: Option<PathBuf>,
    /// Links into the mount.
    pub symlinks: Symlinks,
    /// Text files with addresses.
    pub strm: Strm,
    /// The bytes themselves.
    pub copy: CopyTo,
    /// What others call folders of this machine, where they are in other containers.
    pub mappings: Vec<PathMapping>,
}

impl Default for Outputs {
    fn default() -> Self {
        Self {
            default: vec![OutputWay::Mount],
            categories: BTreeMap::new(),
            library_path: None,
            symlinks: Symlinks::default(),
            strm: Strm::default(),
            copy: CopyTo::default(),
            mappings: Vec::new(),
        }
    }
}

/// A way in which a release reaches others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputWay {
    /// As a folder of the mounted library.
    Mount,
    /// As links into the mounted library.
    Symlinks,
    /// As text files with addresses.
    Strm,
    /// As a copy.
    Copy,
}

impl OutputWay {
    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Symlinks => "symlinks",
            Self::Strm => "strm",
            Self::Copy => "copy",
        }
    }
}

/// Links into the mount.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Symlinks {
    /// The folder that the links are made in.
    pub path: Option<PathBuf>,
    /// The folder that they lead into, as those who follow them see it; where the library is mounted where it is left out.
    pub target: Option<PathBuf>,
}

/// Text files with addresses.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Strm {
    /// The folder that the `.strm` files are made in. Small files that no player opens (subtitles, pictures) are copied there.
    pub path: Option<PathBuf>,
    /// The address of this server as players reach it; the addresses in the files begin with it.
    pub base_url: Option<String>,
}

/// The bytes themselves.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CopyTo {
    /// The folder that they are written to.
    pub path: Option<PathBuf>,
    /// How fast all copies together may be, in bytes a second; 0 for as fast as it goes.
    pub max_bytes_per_second: u64,
    /// How many bytes must be left on the disk.
    pub min_free_bytes: u64,
}

impl Default for CopyTo {
    fn default() -> Self {
        Self {
            path: None,
            max_bytes_per_second: 0,
            min_free_bytes: 1 << 30,
        }
    }
}

/// What others call a folder of this machine.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PathMapping {
    /// The folder here.
    pub ours: PathBuf,
    /// The same folder as they see it.
    pub theirs: String,
}

/// Files that lack articles. One is noted when a read or a check finds that every provider group denies to have an article of it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// How long after that they are all asked again. Only where they still deny it, anything is done.
    pub confirm_after_seconds: u32,
    /// How long after that they are asked once more, in case it is there again; doubled each time, up to eight times this.
    pub check_again_seconds: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            confirm_after_seconds: 3600,
            check_again_seconds: 86_400,
        }
    }
}

/// Sonarr, Radarr, Lidarr, Readarr and Whisparr: what they are told, and what they tell.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Arr {
    /// The address of this server as they reach it. `altmount arr register` gives it to them.
    pub own_url: Option<String>,
    /// The applications.
    pub instances: Vec<ArrInstance>,
    /// What becomes of a library's file when the application that imported it tells that it deleted it. Nothing is ever deleted
    /// because a file is missing there.
    pub deleted_files: DeletedFiles,
    /// When releases are replaced, and how often at most.
    pub replace: Replace,
    /// Downloads that are stuck in their queues.
    pub queue: Queue,
}

/// One application.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ArrInstance {
    /// Its name here; its kind where it is left out. Unique.
    pub name: Option<String>,
    /// What it is.
    pub kind: ArrKind,
    /// Its address, URL base included. Required.
    pub url: String,
    /// Its API key. Required.
    #[serde(serialize_with = "redacted")]
    #[schemars(with = "Option<String>")]
    pub api_key: Option<SecretString>,
    /// The categories of its downloads, the one that it sends first; where it is left out, the usual one of its kind: `tv`,
    /// `movies`, `music`, `books`, `adult`.
    pub categories: Vec<String>,
}

/// What an application is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArrKind {
    /// Sonarr, for series.
    #[default]
    Sonarr,
    /// Radarr, for films.
    Radarr,
    /// Lidarr, for music.
    Lidarr,
    /// Readarr, for books.
    Readarr,
    /// Whisparr 2, which is as Sonarr.
    Whisparr,
    /// Whisparr 3, which is as Radarr.
    WhisparrV3,
}

impl ArrKind {
    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sonarr => "sonarr",
            Self::Radarr => "radarr",
            Self::Lidarr => "lidarr",
            Self::Readarr => "readarr",
            Self::Whisparr => "whisparr",
            Self::WhisparrV3 => "whisparr_v3",
        }
    }
}

/// What becomes of a file whose last user deleted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeletedFiles {
    /// It is deleted.
    #[default]
    Remove,
    /// It stays.
    Keep,
}

/// When releases are replaced, and how often.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Replace {
    /// Whether the release of a file that certainly lacks articles (`health.confirm_after_seconds`) is blocklisted, and another
    /// one searched for, by the application that has the file. Without it that is done when somebody asks for it.
    pub automatic: bool,
    /// One episode, film, album or book, in 24 hours.
    pub per_item_per_day: u32,
    /// One set of articles, under whatever name it comes, in 24 hours.
    pub per_release_per_day: u32,
    /// All together, in an hour. Where more fail at once, the cause is not the releases.
    pub brake_per_hour: u32,
}

impl Default for Replace {
    fn default() -> Self {
        Self {
            automatic: true,
            per_item_per_day: 3,
            per_release_per_day: 1,
            brake_per_hour: 20,
        }
    }
}

/// Downloads that are stuck in an application's queue.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// How often the queues are looked at, where there are rules. An application that says that it needs a person is looked at
    /// at once.
    pub check_seconds: u32,
    /// What is done with which of them; the first rule that fits counts. Only downloads of this server are ever touched.
    pub rules: Vec<QueueRule>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            check_seconds: 300,
            rules: Vec::new(),
        }
    }
}

/// What is done with a download that is stuck.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueRule {
    /// A glob of what the application says of it, whatever the case: `*no files found are eligible*`. Required.
    pub message: String,
    /// How long it is seen so before.
    pub grace_seconds: u32,
    /// What is done.
    pub action: QueueAction,
}

impl Default for QueueRule {
    fn default() -> Self {
        Self {
            message: String::new(),
            grace_seconds: 900,
            action: QueueAction::Remove,
        }
    }
}

/// What is done with a download that is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueAction {
    /// It is removed, from the queue and from here.
    #[default]
    Remove,
    /// And the application does not take this release again.
    Blocklist,
    /// And it looks for another one, within the limits of `replace`.
    BlocklistSearch,
}

/// Importers.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    /// Configuration of importers, by their id. What an importer reads is in its own documentation.
    pub config: BTreeMap<String, serde_json::Value>,
    /// Who goes first where two importers are equally sure, by their id; the highest number does, 0 where it is left
    /// out.
    pub priority: BTreeMap<String, i32>,
    /// Importers that are loaded from shared libraries. A library is code with all rights of the server: list only what you
    /// trust. On Linux.
    pub load: Vec<PluginFile>,
    /// Whether libraries without `sha256`, or that others than root and the server's user may write, are loaded all the
    /// same. For authors of importers alone.
    pub allow_unverified: bool,
}

/// An importer in a shared library.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PluginFile {
    /// Where the library lies, from `/` on.
    pub path: String,
    /// The SHA-256 of its bytes in hexadecimal, as `altmount plugin hash` prints it.
    pub sha256: Option<String>,
    /// The id of an importer whose place it takes; of two of one id, the one that is part of the program is used else.
    pub replaces: Option<String>,
    /// Whether the server does not start without it.
    pub required: bool,
}

/// Files whose bytes lie on web servers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSources {
    /// Whether addresses of private networks and of this machine may be read. Whoever may queue a file could then
    /// read what is behind the firewall.
    pub allow_private: bool,
    /// How many redirects are followed.
    pub max_redirects: u8,
    /// How long a web server may take to answer, and to go on once it started.
    pub timeout_seconds: u32,
}

impl Default for HttpSources {
    fn default() -> Self {
        Self {
            allow_private: false,
            max_redirects: 5,
            timeout_seconds: 20,
        }
    }
}

/// What is logged.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`, or a filter such as `info,altmount_usenet=debug`.
    pub level: String,
    /// `text` for people, `json` for machines: one object a line.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What stands for a secret wherever the configuration is shown.
pub const REDACTED: &str = "(redacted)";

fn all_redacted<S: Serializer>(secrets: &[SecretString], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(secrets.iter().map(|_| REDACTED))
}

pub(super) fn redacted<S: Serializer>(
    secret: &Option<SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_| REDACTED).serialize(serializer)
}
