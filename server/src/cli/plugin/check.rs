//! `altmount plugin check`: the rules that hold for every importer, tried on a built library. Each case runs in a process of its own,
//! so that what crashes, hangs or loops fails its case alone.

use super::{absolute, described, open, settings};
use crate::cli::Global;
use altmount_loader::{Opened, Plugin, stray_calls};
use altmount_sdk::{Confidence, ErrorKind, ImportContext, ImportError, ImportRequest, Manifest};
use altmount_testkit::conformance::{
    Case, Finding, Instance, LIMIT, Running, Sample, Subject, Terms, check_one,
};
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{io::AsyncReadExt, process::Command, runtime::Handle};
use tokio_util::sync::CancellationToken;

/// The first case, without which there are no others.
const LOAD: &str = "load";
const LOAD_RULE: &str = "the library can be loaded";
/// How the line starts by which a case's process tells what came of it; the library may print whatever it likes besides.
const MARK: &str = "altmount-finding: ";
/// Beyond the limit of a case itself: for a start, and for who hangs where the limit does not reach.
const GRACE: Duration = Duration::from_secs(15);
/// Most output of a case's process that is read.
const MAX_OUTPUT: u64 = 4 << 20;
/// Largest sample, in bytes.
const MAX_SAMPLE: u64 = 64 << 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The library.
    file: PathBuf,
    /// The SHA-256 that the configuration would state; owner and permissions are checked then, too.
    #[arg(long)]
    sha256: Option<String>,
    /// A file that the importer must take and import, without any news server or HTTP. May be given several times.
    #[arg(long = "sample", value_name = "FILE")]
    samples: Vec<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Tells of failed cases alone.
    #[arg(long)]
    only_failed: bool,
    /// Runs all cases in this process, for a debugger: a crash ends all of it.
    #[arg(long)]
    in_process: bool,
    /// Checks these cases alone, by their names. May be given several times.
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// How long a case may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = LIMIT.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Runs one case in this process, and tells of it in a line for the process that started it.
    #[arg(long, hide = true)]
    child: bool,
}

/// What came of one case, as it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Told {
    case: String,
    rule: String,
    ok: bool,
    #[serde(default)]
    reason: Option<String>,
    took_ms: u64,
    /// Of the first case: what the library says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    about: Option<Value>,
}

impl From<Finding> for Told {
    fn from(finding: Finding) -> Self {
        Self {
            case: finding.case.to_owned(),
            rule: finding.rule.to_owned(),
            ok: finding.ok,
            reason: finding.reason,
            took_ms: finding.took_ms,
            about: None,
        }
    }
}

/// A loaded library as the suite drives it.
struct Library {
    opened: Opened,
    config: Value,
    runtime: Handle,
}

impl Subject for Library {
    fn manifest(&self) -> Result<Manifest, String> {
        self.opened.read_manifest()
    }

    fn create(&self, config: &Value, terms: Terms) -> altmount_sdk::Result<Arc<dyn Instance>> {
        let terms = altmount_loader::Terms {
            spoil: terms.spoil,
            moved: terms.moved,
            later: terms.later,
        };
        Ok(Arc::new(Made {
            plugin: Arc::new(self.opened.create_on(config, terms)?),
            runtime: self.runtime.clone(),
        }))
    }

    fn config(&self) -> Value {
        self.config.clone()
    }

    fn stray_calls(&self) -> u64 {
        stray_calls()
    }

    fn loaded(&self) -> bool {
        true
    }
}

struct Made {
    plugin: Arc<Plugin>,
    runtime: Handle,
}

impl Instance for Made {
    fn probe(&self, name: &str, head: &[u8]) -> Option<Confidence> {
        self.plugin.probe(name, head)
    }

    fn start(self: Arc<Self>, request: ImportRequest, cx: Arc<dyn ImportContext>) -> Running {
        let stop = CancellationToken::new();
        let import = Arc::clone(&self.plugin).import(request, cx, stop.clone());
        let task = self.runtime.spawn(import);
        let end = async {
            task.await.unwrap_or_else(|error| {
                Err(ImportError::new(
                    ErrorKind::Internal,
                    format!("the import's task ended: {error}"),
                ))
            })
        };
        Running {
            end: Box::pin(end),
            cancel: Box::new(move || stop.cancel()),
        }
    }
}

fn samples(arguments: &Arguments) -> Result<Vec<Sample>> {
    let read = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("'{}' has no name that is UTF-8", path.display()))?;
        let len = path
            .metadata()
            .with_context(|| format!("'{}' cannot be found", path.display()))?
            .len();
        if len > MAX_SAMPLE {
            bail!(
                "'{}' has {len} bytes, a sample at most {MAX_SAMPLE}",
                path.display()
            );
        }
        let bytes = std::fs::read(path).with_context(|| format!("'{}' cannot be read", path.display()))?;
        Ok(Sample::new(name, bytes))
    };
    arguments.samples.iter().map(read).collect()
}

/// Loads the library and makes an instance with the configuration that it would get.
fn load(global: &Global, arguments: &Arguments, runtime: &Handle) -> Result<(Library, Value)> {
    let opened = open(global, &arguments.file, arguments.sha256.clone())?;
    let id = &opened.manifest.id;
    let config = settings(global)
        .ok()
        .and_then(|(settings, _)| settings.plugin_config.get(id).cloned())
        .filter(|config| !config.is_null())
        .unwrap_or_else(|| json!({}));
    altmount_engine::check_config(id, opened.manifest.config_schema.as_ref(), &config)
        .map_err(|reason| anyhow!(reason))?;
    let about = described(&opened);
    let library = Library {
        opened,
        config,
        runtime: runtime.clone(),
    };
    library.create(&library.config, Terms::default())?;
    Ok((library, about))
}

/// The first case, in this process.
fn loads(global: &Global, arguments: &Arguments, runtime: &Handle) -> (Told, Option<Library>) {
    let started = Instant::now();
    let loaded = load(global, arguments, runtime);
    let mut told = Told {
        case: LOAD.to_owned(),
        rule: LOAD_RULE.to_owned(),
        ok: loaded.is_ok(),
        reason: None,
        took_ms: ms(started),
        about: None,
    };
    match loaded {
        Ok((library, about)) => {
            told.about = Some(about);
            (told, Some(library))
        }
        Err(error) => {
            told.reason = Some(format!("{error:#}"));
            (told, None)
        }
    }
}

fn ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Result<ExitCode> {
    let runtime = crate::cli::runtime()?;
    let known = |name: &String| name == LOAD || Case::all().iter().any(|case| case.name == name);
    if let Some(unknown) = arguments.cases.iter().find(|name| !known(name)) {
        let names: Vec<&str> = Case::all().iter().map(|case| case.name).collect();
        bail!(
            "there is no case '{unknown}', there are: {LOAD}, {}",
            names.join(", ")
        );
    }
    if let (true, [case]) = (arguments.child, &arguments.cases[..]) {
        let told = one(global, arguments, case, runtime.handle())?;
        println!("\n{MARK}{}", serde_json::to_string(&told)?);
        // What hangs would hang the end of the runtime, too.
        std::process::exit(0);
    }
    // Told of now, and not once for each case.
    samples(arguments)?;
    let all = if arguments.in_process {
        in_process(global, arguments, runtime.handle())?
    } else {
        let path = absolute(&arguments.file)?;
        runtime.block_on(apart(global, arguments, &path))?
    };
    let code = report(arguments, &all)?;
    runtime.shutdown_background();
    Ok(code)
}

/// One case, in the process that was started for it.
fn one(global: &Global, arguments: &Arguments, name: &str, runtime: &Handle) -> Result<Told> {
    let (told, library) = loads(global, arguments, runtime);
    let Some(library) = library.filter(|_| name != LOAD) else {
        return Ok(told);
    };
    let case = Case::all().iter().find(|case| case.name == name);
    let case = case.with_context(|| format!("there is no case '{name}'"))?;
    let limit = Duration::from_secs(arguments.timeout);
    Ok(check_one(*case, Arc::new(library), samples(arguments)?, limit).into())
}

fn in_process(global: &Global, arguments: &Arguments, runtime: &Handle) -> Result<Vec<Told>> {
    let (told, library) = loads(global, arguments, runtime);
    let mut all = vec![told];
    if let Some(library) = library {
        let (library, samples) = (Arc::new(library), samples(arguments)?);
        let limit = Duration::from_secs(arguments.timeout);
        for case in wanted(arguments) {
            all.push(check_one(*case, Arc::clone(&library) as _, samples.clone(), limit).into());
        }
    }
    Ok(all)
}

/// The cases that are asked for.
fn wanted(arguments: &Arguments) -> impl Iterator<Item = &'static Case> {
    let asked = &arguments.cases;
    let all = Case::all().iter();
    all.filter(move |case| asked.is_empty() || asked.iter().any(|name| name == case.name))
}

/// Each case in a process of its own.
async fn apart(global: &Global, arguments: &Arguments, library: &Path) -> Result<Vec<Told>> {
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let start = |case: &str| {
        let mut command = Command::new(&program);
        command
            .args(["plugin", "check", "--child", "--case", case])
            .arg(library);
        command.arg("--timeout").arg(arguments.timeout.to_string());
        let flags = [("--config", &global.config), ("--data-dir", &global.data_dir)];
        for (flag, path) in flags {
            if let Some(path) = path {
                command.arg(flag).arg(path);
            }
        }
        if let Some(sha256) = &arguments.sha256 {
            command.args(["--sha256", sha256]);
        }
        for sample in &arguments.samples {
            command.arg("--sample").arg(sample);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command
    };
    let limit = Duration::from_secs(arguments.timeout) + GRACE;
    let mut all = vec![child(start(LOAD), LOAD, LOAD_RULE, limit).await];
    if !all[0].ok {
        return Ok(all);
    }
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let cases = stream::iter(wanted(arguments))
        .map(|case| child(start(case.name), case.name, case.rule, limit))
        .buffered(at_once);
    all.extend(cases.collect::<Vec<Told>>().await);
    Ok(all)
}

/// Runs a case's process to its end, and ends it where it does not.
async fn child(mut command: Command, case: &str, rule: &str, limit: Duration) -> Told {
    let started = Instant::now();
    let failed = |reason: String| Told {
        case: case.to_owned(),
        rule: rule.to_owned(),
        ok: false,
        reason: Some(reason),
        took_ms: ms(started),
        about: None,
    };
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return failed(format!("there is no process for it: {error}")),
    };
    let output = child.stdout.take();
    let work = async {
        let mut bytes = Vec::new();
        if let Some(output) = output {
            // More than that is no finding; who goes on writing gets a closed pipe.
            let _read = output.take(MAX_OUTPUT).read_to_end(&mut bytes).await;
        }
        (bytes, child.wait().await)
    };
    match tokio::time::timeout(limit, work).await {
        Ok((bytes, Ok(status))) => {
            let text = String::from_utf8_lossy(&bytes);
            let line = text.lines().rev().find_map(|line| line.strip_prefix(MARK));
            match line.map(serde_json::from_str::<Told>) {
                Some(Ok(told)) if told.case == case && status.success() => told,
                // A library that cannot even be loaded in this process.
                Some(Ok(told)) if told.case == LOAD => failed(told.reason.unwrap_or_default()),
                _ => failed(ended(status)),
            }
        }
        Ok((_, Err(error))) => failed(format!("its process cannot be waited for: {error}")),
        Err(_) => failed(format!(
            "it did not end within {} s, and its process was ended",
            limit.as_secs()
        )),
    }
}

fn ended(status: ExitStatus) -> String {
    let name = |signal| match signal {
        4 => " (illegal instruction)",
        6 => " (abort)",
        7 => " (bus error)",
        8 => " (arithmetic fault)",
        9 => " (killed; out of memory?)",
        11 => " (segmentation fault)",
        _ => "",
    };
    match status.signal() {
        Some(signal) => format!(
            "it crashed: its process was ended by signal {signal}{}",
            name(signal)
        ),
        None => format!("it ended its process with {status}"),
    }
}

fn report(arguments: &Arguments, all: &[Told]) -> Result<ExitCode> {
    let failed = all.iter().filter(|told| !told.ok).count();
    let ok = failed == 0;
    let shown: Vec<&Told> = all
        .iter()
        .filter(|told| !(arguments.only_failed && told.ok))
        .collect();
    let about = all[0].about.clone().unwrap_or_else(|| json!({}));
    if arguments.json {
        let mut report = json!({"ok": ok, "passed": all.len() - failed, "failed": failed, "cases": shown});
        for (key, value) in about.as_object().into_iter().flatten() {
            report[key] = value.clone();
        }
        if let Some(cases) = report["cases"].as_array_mut() {
            cases
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .for_each(|case| {
                    case.remove("about");
                });
        }
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for told in shown {
            let what = if told.ok { "ok" } else { "FAILED" };
            println!("{what:<6} {:<32} {}", told.case, told.rule);
            if let Some(reason) = &told.reason {
                println!("       {}", reason.replace('\n', "\n       "));
            }
        }
        let who = about["manifest"]["id"].as_str().unwrap_or("the library");
        let version = about["manifest"]["version"].as_str().unwrap_or_default();
        println!(
            "{who} {version}: {} of {} cases passed",
            all.len() - failed,
            all.len()
        );
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
