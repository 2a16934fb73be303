//! From the keys of the folders that the library is seen as to what serves them.
#![deny(unused_variables)]

use super::{
    resolve::{Faults, seconds},
    types::{Mount, Webdav},
};
use secrecy::SecretString;
use std::{path::PathBuf, time::Duration};

/// WebDAV's settings.
#[derive(Clone, Debug)]
pub struct WebdavSettings {
    /// The user's name.
    pub user: String,
    /// The password, where the configuration has one.
    pub password: Option<SecretString>,
}

/// The FUSE mount's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSettings {
    /// The folder, absolute; `None` where nothing is mounted.
    pub path: Option<PathBuf>,
    /// Whether others than the process's user may use it.
    pub allow_other: bool,
    /// Whose everything is; the process's user where there is none.
    pub uid: Option<u32>,
    /// The group; the process's where there is none.
    pub gid: Option<u32>,
    /// How long the kernel keeps names and attributes.
    pub cache: Duration,
    /// For one read.
    pub read_timeout: Duration,
}

pub(super) fn mount(mount: Mount, faults: &mut Faults) -> MountSettings {
    let Mount {
        path,
        allow_other,
        uid,
        gid,
        cache_seconds,
        read_timeout_seconds,
    } = mount;
    let read_timeout = seconds(faults.at_least_one("mount.read_timeout_seconds", read_timeout_seconds));
    if let Some(path) = path.as_deref().filter(|path| !path.is_absolute()) {
        let path = path.display();
        faults.add(format!(
            "'mount.path': '{path}' is not absolute; give the full path"
        ));
    }
    MountSettings {
        path,
        allow_other,
        uid,
        gid,
        cache: seconds(cache_seconds),
        read_timeout,
    }
}

pub(super) fn webdav(webdav: Webdav, faults: &mut Faults) -> Option<WebdavSettings> {
    let Webdav {
        enabled,
        user,
        password,
    } = webdav;
    if enabled && (user.is_empty() || user.contains(':') || user.chars().any(char::is_control)) {
        faults.add("'webdav.user' must be a name without ':' and control characters".to_owned());
    }
    enabled.then_some(WebdavSettings { user, password })
}
