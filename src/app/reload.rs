//! The reload: the settings that change without a restart, read again and applied at once.
//!
//! A reload first reads everything (settings, routes, certificates) and then replaces everything,
//! so a wrong file changes nothing. Workers read the shared parts at each use, and switch to new
//! routes by themselves (`routes_switch.rs`): once a reload returns, all of them use the new ones.
//!
//! To add a part: keep its handle in [`ReloadableParts`], prepare it in [`ReloadableParts::reload`]
//! where it may fail, and install it behind all preparations.

use std::fs;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::routes_switch::RoutesSwitch;
use crate::admin::{ReloadOutcome, ReloadRequest};
use crate::config::Settings;
use crate::key::NameKey;
use crate::sealing::{SealKeys, SharedSealKeys};
use crate::secret::SharedSecret;
use crate::telemetry::log::LogFilter;
use crate::tls::{ListenerOptions, ListenerTls};

/// The source of the settings of a running process.
pub struct SettingsSource {
    read: Box<dyn Fn() -> Result<Settings, String>>,
    log: LogFilter,
}

impl SettingsSource {
    /// Returns a source that calls `read` for each reload, and changes the filter of this log.
    pub fn new(read: impl Fn() -> Result<Settings, String> + 'static, log: LogFilter) -> Self {
        Self { read: Box::new(read), log }
    }
}

/// The parts of a running process that a reload replaces.
pub(super) struct ReloadableParts {
    pub(super) tls: Option<ReloadableTls>,
    pub(super) token: SharedSecret,
    keys: ReloadableKeys,
    routes: RoutesSwitch,
    /// The operators that wait for a reload.
    requests: mpsc::Receiver<ReloadRequest>,
    /// The operators that the next reload answers.
    waiting: Vec<ReloadRequest>,
}

/// The TLS of the listener for clients, with the files that it was read from.
pub(super) struct ReloadableTls {
    listener: ListenerTls,
    options: ListenerOptions,
    files: Vec<FileStamp>,
}

impl ReloadableTls {
    pub(super) fn new(listener: ListenerTls, options: ListenerOptions) -> Self {
        let files = stamps(&options);
        Self { listener, options, files }
    }
}

/// The keys that seal the entries in Redis, with the state of their file when it was read.
pub(super) struct ReloadableKeys {
    keys: SharedSealKeys,
    /// The key of names, which stays.
    name_key: NameKey,
    file: Option<FileStamp>,
}

impl ReloadableKeys {
    pub(super) fn new(keys: SharedSealKeys, name_key: NameKey) -> Self {
        let file = keys.file().as_ref().map(stamp);
        Self { keys, name_key, file }
    }

    /// Returns the keys of new settings, if there is a key file. It is neither added nor removed
    /// while the process runs: its nodes would not read their own entries.
    fn prepare(
        &self,
        new: &SharedSealKeys,
        name_key: &NameKey,
    ) -> Result<Option<(PathBuf, Arc<SealKeys>)>, String> {
        if *name_key != self.name_key {
            return Err("the key of name_key_file was changed, which needs a restart".to_owned());
        }
        match (self.keys.file(), new.file().zip(new.get())) {
            (Some(_), Some(new)) => Ok(Some(new)),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => {
                Err("entry_key_file was added or removed, which needs a restart".to_owned())
            }
        }
    }

    /// Replaces the keys.
    fn install(&mut self, path: &PathBuf, keys: Arc<SealKeys>) {
        self.file = Some(stamp(path));
        self.keys.set(path, keys);
    }

    /// Reads the file again if it changed since the last look.
    fn watch(&mut self) {
        let Some(path) = self.keys.file() else { return };
        let file = Some(stamp(&path));
        if file == self.file {
            return;
        }
        // An error is logged once: the next look compares with this state.
        self.file = file;
        match SealKeys::read(&path) {
            Ok(keys) => {
                info!(%keys, "reloaded the keys of entries, because their file changed");
                self.keys.set(&path, Arc::new(keys));
            }
            Err(error) => error!(%error, "a changed key file cannot be used; the previous keys stay"),
        }
    }
}

impl ReloadableParts {
    pub(super) fn new(
        tls: Option<ReloadableTls>,
        token: SharedSecret,
        keys: ReloadableKeys,
        routes: RoutesSwitch,
        requests: mpsc::Receiver<ReloadRequest>,
    ) -> Self {
        Self { tls, token, keys, routes, requests, waiting: Vec::new() }
    }

    /// Refuses all reloads, because this process has no source of settings.
    pub(super) fn refuse_reloads(&mut self) {
        self.requests.close();
        // Without its sender, an operator that waits has its answer.
        while self.requests.try_recv().is_ok() {}
    }

    /// Waits until an operator requests a reload. Cancel safe.
    pub(super) async fn awaited(&mut self) {
        match self.requests.recv().await {
            Some(request) => self.waiting.push(request),
            // The admin listener is off, or has ended.
            None => pending().await,
        }
    }

    /// Reads the settings and replaces the parts; answers the operators that wait by now.
    pub(super) async fn reload(&mut self, source: &SettingsSource) {
        while let Ok(request) = self.requests.try_recv() {
            self.waiting.push(request);
        }
        let outcome = self.replace(source).await;
        match &outcome {
            Ok(parts) => info!(parts = parts.join(", "), "reloaded"),
            Err(reason) => error!(reason, "nothing was reloaded; the previous settings stay"),
        }
        for request in self.waiting.drain(..) {
            request.answer(outcome.clone());
        }
    }

    async fn replace(&mut self, source: &SettingsSource) -> ReloadOutcome {
        let settings = (source.read)()?;
        self.routes.check(settings.routes.as_deref()).map_err(|error| error.to_string())?;
        let mut parts = Vec::new();
        // A listener does not change between plain HTTP and TLS.
        let options = settings.workers.first().and_then(|worker| worker.server.tls.clone());
        let prepared = match (&self.tls, options) {
            (Some(tls), Some(options)) => {
                let files = stamps(&options);
                let prepared = tls.listener.prepare(&options).map_err(|error| error.to_string())?;
                Some((prepared, options, files))
            }
            (Some(_), None) | (None, Some(_)) => {
                return Err("tls_cert_file was added or removed, which needs a restart".to_owned());
            }
            (None, None) => None,
        };
        let keys = self.keys.prepare(&settings.store.entry_keys, &settings.store.name_key)?;
        // The settings were checked, so this is the last step that can fail, and it never does.
        source.log.set(&settings.log.filter).map_err(|error| error.to_string())?;
        parts.push("log_level");
        self.token.set(settings.operators.token.get());
        parts.push("admin_token");
        if let (Some(tls), Some((prepared, options, files))) = (&mut self.tls, prepared) {
            tls.listener.install(prepared);
            (tls.options, tls.files) = (options, files);
            parts.push("certificates");
        }
        if let Some((path, keys)) = keys {
            self.keys.install(&path, keys);
            parts.push("keys");
        }
        if self.routes.concerns(settings.routes.as_deref()) {
            let overrides = settings.routes.as_ref().map(|routes| routes.overrides()).unwrap_or_default();
            self.routes.publish(settings.routes).await;
            for line in overrides {
                warn!("{line}");
            }
            parts.push("routes");
        }
        Ok(parts)
    }

    /// Reads the certificates and the keys again if one of their files changed since the last look.
    pub(super) fn watch_files(&mut self) {
        self.keys.watch();
        let Some(tls) = &mut self.tls else { return };
        let files = stamps(&tls.options);
        if files == tls.files {
            return;
        }
        // An error is logged once: the next look compares with these files.
        tls.files = files;
        match tls.listener.prepare(&tls.options) {
            Ok(prepared) => {
                tls.listener.install(prepared);
                info!("reloaded certificates, because a file changed");
            }
            Err(error) => error!(%error, "a changed certificate cannot be used; the previous one stays"),
        }
    }

    /// Returns whether there is a file to watch.
    pub(super) fn has_files(&self) -> bool {
        self.tls.is_some() || self.keys.file.is_some()
    }
}

/// The signs by which a change of a file shows; `None` for a file that cannot be read.
type FileStamp = (PathBuf, Option<(SystemTime, u64)>);

fn stamps(options: &ListenerOptions) -> Vec<FileStamp> {
    options.files().map(stamp).collect()
}

fn stamp(path: &PathBuf) -> FileStamp {
    let known = fs::metadata(path).and_then(|file| Ok((file.modified()?, file.len())));
    (path.clone(), known.ok())
}
