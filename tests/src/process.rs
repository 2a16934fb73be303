//! What a process takes and what it waits for, as the kernel tells it in `/proc`. Nothing is known of one that is gone.

use std::collections::BTreeSet;
use std::fs;

/// Resident memory in bytes.
#[must_use]
pub fn resident(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmRSS:")
}

/// The most resident memory so far, in bytes.
#[must_use]
pub fn peak_resident(pid: u32) -> Option<u64> {
    status_bytes(pid, "VmHWM:")
}

/// A size among the lines of a process's status, which has it in KiB.
fn status_bytes(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// How many files it has open, sockets included.
#[must_use]
pub fn open_files(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// State and parent, the third and fourth fields of a line of `stat`. The name before them, in brackets, may have spaces and brackets.
fn state_and_parent(stat: &str) -> Option<(&str, u32)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    Some((fields.next()?, fields.next()?.parse().ok()?))
}

/// The numbers that are names in a folder of `/proc`.
fn numbers(folder: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The processes that it has started and that have not been waited for.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let is_child = |child: &u32| {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        state_and_parent(&stat).is_some_and(|(_, parent)| parent == pid)
    };
    numbers("/proc").filter(is_child).collect()
}

/// Those of its threads that wait in the kernel and cannot be killed (state `D`).
#[must_use]
pub fn unkillable(pid: u32) -> BTreeSet<u32> {
    let tasks = format!("/proc/{pid}/task");
    let waits = |thread: &u32| {
        let stat = fs::read_to_string(format!("{tasks}/{thread}/stat")).unwrap_or_default();
        state_and_parent(&stat).is_some_and(|(state, _)| state == "D")
    };
    numbers(&tasks).filter(waits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known_and_one_that_is_gone_is_not() {
        let own = std::process::id();
        let now = resident(own).expect("is told");
        assert!(now > 100 << 10 && peak_resident(own).is_some_and(|peak| peak >= now));
        // Other tests open and close a few meanwhile.
        let before = open_files(own).expect("are told");
        let more: Vec<_> = (0..100).map(|_| fs::File::open("/proc/self/stat")).collect();
        assert!(more.iter().all(Result::is_ok));
        assert!(open_files(own).is_some_and(|files| files >= before + 50));
        assert_eq!((resident(0), open_files(0)), (None, None));
    }

    #[test]
    fn a_child_is_found_until_it_was_waited_for() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("starts");
        assert!(children(std::process::id()).contains(&child.id()));
        child.kill().expect("is killed");
        child.wait().expect("is gone");
        assert!(!children(std::process::id()).contains(&child.id()));
    }

    #[test]
    fn names_with_brackets_do_not_hide_the_state() {
        assert_eq!(state_and_parent("12 (a) D 7 (b)) D 34 12"), Some(("D", 34)));
        assert_eq!(state_and_parent("12 (cat"), None);
    }
}
