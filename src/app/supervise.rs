//! The main thread of a running proxy: signals, reloads, and the supervisor.

use std::future::pending;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::info;

use super::liveness::LivenessState;
use super::reload::SettingsSource;
use super::running::{RunningProxy, StartError};
use crate::limits::{RELOAD_SPACING, TLS_FILES_INTERVAL};
use crate::readiness::ProcessPhase;
use crate::supervisor::{ServiceState, Supervisor};

/// The signals that end no server, although their default action ends a process: SIGHUP, SIGUSR1
/// and SIGUSR2. A server catches them before it reads its settings.
pub struct HarmlessSignals {
    runtime: Runtime,
    hangup: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl HarmlessSignals {
    /// Catches the signals.
    pub fn catch() -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let within = runtime.enter();
        let hangup = signal(SignalKind::hangup())?;
        let (user_1, user_2) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
        drop(within);
        Ok(Self { runtime, hangup, user_1, user_2 })
    }
}

/// All signals whose default action ends the process. The process catches SIGTERM and SIGINT when
/// it has its settings and before it serves, so that they drain a process that has just started;
/// until then they end it.
pub struct ShutdownSignals {
    harmless: HarmlessSignals,
    terminate: Signal,
    interrupt: Signal,
}

impl ShutdownSignals {
    /// Catches SIGTERM and SIGINT as well.
    pub fn catch(harmless: HarmlessSignals) -> Result<Self, StartError> {
        let within = harmless.runtime.enter();
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        drop(within);
        Ok(Self { harmless, terminate, interrupt })
    }
}

/// The parties of the main thread besides the workers.
#[derive(Default)]
pub struct ProcessControl {
    /// The source of the settings for a reload. Without one, the process ignores SIGHUP and refuses
    /// `POST /reload`.
    pub settings: Option<SettingsSource>,
    /// The supervisor that started the process.
    pub supervisor: Supervisor,
}

impl RunningProxy {
    /// Serves until SIGTERM, SIGINT or the end of a worker, then drains. SIGHUP reloads. Passes the
    /// name of any other signal to `ignore`. Returns `false` if a worker panicked.
    pub fn serve_until(
        mut self,
        signals: ShutdownSignals,
        control: &ProcessControl,
        ignore: impl Fn(&str),
    ) -> bool {
        let ShutdownSignals { harmless, mut terminate, mut interrupt } = signals;
        let HarmlessSignals { runtime, mut hangup, mut user_1, mut user_2 } = harmless;
        if control.settings.is_none() {
            self.parts.refuse_reloads();
        }
        runtime.block_on(async {
            control.supervisor.notify(ServiceState::Ready);
            let mut files = ticks(TLS_FILES_INTERVAL);
            let signs = control.supervisor.watchdog().map(|interval| interval / 2);
            let mut signs = signs.map(ticks);
            let mut reload_at = Instant::now();
            let draining = loop {
                tokio::select! {
                    Some(()) = terminate.recv() => break Some("SIGTERM"),
                    Some(()) = interrupt.recv() => break Some("SIGINT"),
                    () = self.shutdown.begun() => break None,
                    Some(()) = after(reload_at, hangup.recv()) => match &control.settings {
                        Some(settings) => {
                            reload_at = Instant::now() + RELOAD_SPACING;
                            self.reload(settings, &control.supervisor).await;
                        }
                        None => ignore("SIGHUP"),
                    },
                    () = after(reload_at, self.parts.awaited()), if control.settings.is_some() => {
                        reload_at = Instant::now() + RELOAD_SPACING;
                        if let Some(settings) = &control.settings {
                            self.reload(settings, &control.supervisor).await;
                        }
                    }
                    _ = files.tick(), if self.parts.has_files() => self.parts.watch_files(),
                    () = next(&mut signs) => {
                        if self.liveness.check() == LivenessState::Alive {
                            control.supervisor.notify(ServiceState::Alive);
                        }
                    }
                    Some(()) = user_1.recv() => ignore("SIGUSR1"),
                    Some(()) = user_2.recv() => ignore("SIGUSR2"),
                }
            };
            self.readiness.enter(ProcessPhase::Draining);
            control.supervisor.notify(ServiceState::Stopping);
            let Some(signal) = draining else { return };
            if !self.drain_delay.is_zero() {
                info!(delay = ?self.drain_delay, "{signal}: not ready any more; the drain begins after the delay");
                tokio::select! {
                    () = sleep(self.drain_delay) => {}
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            self.shutdown.begin();
            // The line comes second: a reader of it can rely on the drain.
            info!("{signal}: draining");
        });
        self.stop()
    }

    async fn reload(&mut self, settings: &SettingsSource, supervisor: &Supervisor) {
        supervisor.notify(ServiceState::Reloading);
        self.parts.reload(settings).await;
        supervisor.notify(ServiceState::Ready);
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits for the next tick, or for ever if there are none.
async fn next(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => pending().await,
    }
}

/// Awaits an event, and not before `at`: several events before it become one.
async fn after<T>(at: Instant, event: impl Future<Output = T>) -> T {
    sleep_until(at).await;
    event.await
}
