//! The binary, run as scripts and service managers do.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses its own part of it"
)]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

pub fn altmount(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_altmount"));
    // Nothing of the machine that the test runs on has a say.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ALTMOUNT") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .arg("--data-dir")
        .arg(data)
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end: exit code, standard output, standard error.
pub fn run(data: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = altmount(data, arguments).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("an exit code"), text(stdout), text(stderr))
}

/// A running server.
pub struct Server {
    pub child: Child,
    pub url: String,
    pub banner: String,
}

impl Server {
    pub fn start(data: &Path, arguments: &[&str]) -> Self {
        Self::logging(data, arguments, Stdio::null())
    }

    /// With its standard error going there.
    pub fn logging(data: &Path, arguments: &[&str], log: Stdio) -> Self {
        let arguments = [&["--listen", "127.0.0.1:0"], arguments].concat();
        let mut child = altmount(data, &arguments)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let (mut banner, mut url) = (String::new(), None);
        while url.is_none() || !banner.contains("configuration") {
            let line = lines.next().expect("the banner goes on").expect("readable");
            if let Some(address) = line.trim().strip_prefix("page") {
                url = Some(address.trim().trim_end_matches('/').to_owned());
            }
            banner.push_str(&line);
            banner.push('\n');
        }
        Self {
            child,
            url: url.expect("an address"),
            banner,
        }
    }

    /// Ends it as a service manager does.
    pub fn stop(mut self) -> i32 {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .expect("kill runs");
        assert!(sent.success());
        self.child.wait().expect("it ends").code().expect("an exit code")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already, where the test went well.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}
