//! Facts of the process that every dashboard knows: the version, and the names that Prometheus'
//! clients give to the use of processor, memory and files.
//!
//! A scrape reads them from `/proc`. A system without it has none of these metrics.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::registry::Registry;

impl Registry {
    /// Declares the metrics of the process, once in a process.
    pub fn watch_process(&self) {
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        let labels =
            [("version", env!("CARGO_PKG_VERSION")), ("profile", profile), ("arch", std::env::consts::ARCH)];
        self.info(
            "cachewarp_build",
            "Version of the running program",
            labels.into_iter().map(|(label, value)| (label, value.to_owned())).collect(),
        );
        let Some(status) = ProcessStatus::read() else { return };
        if let Some(start) = status.start() {
            self.sampled(
                "process_start_time_seconds",
                "Start of the process, since the Unix epoch",
                move || start,
            );
        }
        self.sampled_counter(
            "process_cpu_seconds_total",
            "Processor time, of the program and of the kernel for it",
            || sampled(|status| status.cpu),
        );
        self.sampled("process_resident_memory_bytes", "Memory in use", || number(resident_bytes()));
        self.sampled("process_virtual_memory_bytes", "Address space in use", || {
            sampled(|status| status.virtual_memory)
        });
        self.sampled("process_threads", "Threads of the process", || sampled(|status| status.threads));
        self.sampled("process_open_fds", "Open file descriptors", || number(open_descriptors()));
        self.sampled("process_max_fds", "Limit on open file descriptors", || {
            getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |limit| number(Some(limit)))
        });
    }
}

/// Clock ticks per second in `/proc`: the kernel's constant for programs (`USER_HZ`), the same on
/// every architecture that Rust supports. To ask the system for it would need the auxiliary vector,
/// which valgrind hides.
const TICKS_PER_SECOND: f64 = 100.0;

/// The numbers of `/proc/self/stat` that metrics show.
struct ProcessStatus {
    /// Processor time in seconds.
    cpu: f64,
    threads: f64,
    /// The start in clock ticks since the system's boot.
    started: f64,
    virtual_memory: f64,
}

impl ProcessStatus {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// Parses the line (proc_pid_stat(5)). The name of the program, in parentheses, may hold spaces
    /// and parentheses.
    fn parse(line: &str) -> Option<Self> {
        let (_, after_name) = line.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        // The first field after the name is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            threads: field(20)?,
            started: field(22)?,
            virtual_memory: field(23)?,
        })
    }

    /// Returns the start of the process in seconds since the Unix epoch.
    fn start(&self) -> Option<f64> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let boot = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<f64>().ok()?;
        Some(boot + self.started / TICKS_PER_SECOND)
    }
}

/// Returns a number of the current status; NaN, which Prometheus stores as such, if the system does
/// not provide it.
fn sampled(read: impl FnOnce(&ProcessStatus) -> f64) -> f64 {
    ProcessStatus::read().as_ref().map_or(f64::NAN, read)
}

/// Returns the resident memory. `/proc/self/status` has it in KiB, and `/proc/self/stat` in pages
/// of unknown size.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Returns the number of open descriptors. Linux 6.2 and later have it as the size of the folder;
/// otherwise the entries are counted, without the descriptor that reads them.
fn open_descriptors() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).ok()?.len() {
        0 => Some((fs::read_dir(FOLDER).ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of descriptors or bytes stays below 2^53")]
fn number(count: Option<u64>) -> f64 {
    count.map_or(f64::NAN, |count| count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_behind_any_name() {
        let line = "7 (a) b (c)) S 1 7 7 0 -1 4194560 9 8 7 6 250 150 3 2 20 0 5 0 123400 8192 3 \
                    18446744073709551615 1 1 0";
        let status = ProcessStatus::parse(line).unwrap();
        assert_eq!([status.cpu, status.threads, status.started], [4.0, 5.0, 123_400.0]);
        assert_eq!(status.virtual_memory, 8192.0);
        for cut in ["", "7 (a", "7 (a) S 1 7", "7 (a) S x"] {
            assert!(ProcessStatus::parse(cut).is_none(), "{cut}");
        }
    }

    #[test]
    fn the_metrics_describe_this_process() {
        let registry = Registry::new();
        registry.watch_process();
        let value = |name: &str| {
            let page = registry.render();
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse::<f64>().ok())
        };
        // Other tests of this process open and close files too.
        assert!(value("process_open_fds").unwrap() >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_resident_memory_bytes").unwrap() > 1e6);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(
            value("process_threads").unwrap() >= 1.0 && value("process_cpu_seconds_total").unwrap() >= 0.0
        );
        let now = crate::time::now().as_millis() as f64 / 1e3;
        let start = value("process_start_time_seconds").unwrap();
        assert!(start <= now + 1.0 && start > now - 24.0 * 3600.0, "{start} and {now}");
        assert!(registry.render().contains("\ncachewarp_build_info{version=\""));
    }
}
