//! The process log.
//!
//! Log lines go to standard error, one line a record, as text for people or as JSON. Standard
//! output belongs to the commands that print.

use std::fmt::Display;
use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::reload::Handle;

/// The format and the filter of log lines.
#[derive(Clone, Debug)]
pub struct Options {
    /// The format of a line.
    pub format: LogFormat,
    /// A `tracing` filter: `info`, `cachewarp=debug`, …
    pub filter: String,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text, coloured if standard error is a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// An invalid filter, or a second log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// A word such as `inof`, which `tracing` would take for the name of a module, and log nothing.
    #[error("`{0}` is not a level: one of off, error, warn, info, debug, trace")]
    NotALevel(String),
    /// An error of `tracing`.
    #[error("{0}")]
    Filter(String),
    /// The process already has a log.
    #[error("the log is already installed")]
    Installed,
}

/// The filter of an installed log.
pub struct LogFilter(Box<dyn Fn(EnvFilter) -> Result<(), String>>);

impl LogFilter {
    /// Replaces the filter.
    pub fn set(&self, text: &str) -> Result<(), LogError> {
        (self.0)(filter(text)?).map_err(LogError::Filter)
    }
}

/// Sends the log lines of the whole process to standard error. Works once in a process.
pub fn install(options: &Options) -> Result<LogFilter, LogError> {
    let (log, filter) = subscriber(options, io::stderr, io::stderr().is_terminal().into())?;
    tracing::subscriber::set_global_default(log).map_err(|_| LogError::Installed)?;
    Ok(filter)
}

/// Writes the reason why the process ends as a line of the JSON log. The filter does not apply, and
/// the log of the process need not be installed.
pub fn write_fatal(reason: &impl Display) {
    let options = Options { format: LogFormat::Json, filter: "error".to_owned() };
    // The filter is valid.
    if let Ok((log, _)) = subscriber(&options, io::stderr, LogColour::Never) {
        tracing::subscriber::with_default(log, || tracing::error!(target: "cachewarp", "{reason}"));
    }
}

/// Checks that `filter` is valid.
pub fn check(filter: &str) -> Result<(), LogError> {
    self::filter(filter).map(|_| ())
}

/// Permission for colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogColour {
    /// Colours on a terminal, unless `NO_COLOR` is set.
    Allowed,
    Never,
}

impl From<bool> for LogColour {
    fn from(is_terminal: bool) -> Self {
        if is_terminal { Self::Allowed } else { Self::Never }
    }
}

fn subscriber<W>(
    options: &Options,
    writer: W,
    colour: LogColour,
) -> Result<(Box<dyn Subscriber + Send + Sync>, LogFilter), LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&options.filter)?)
        .with_writer(writer)
        // `tracing` would report such an error with `eprintln!`, which panics when standard error
        // is broken.
        .log_internal_errors(false);
    let builder = match colour {
        LogColour::Allowed => builder,
        LogColour::Never => builder.with_ansi(false),
    };
    Ok(match options.format {
        LogFormat::Human => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            (Box::new(builder.finish()), filter_of(handle))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_current_span(false).with_filter_reloading();
            let handle = builder.reload_handle();
            (Box::new(builder.finish()), filter_of(handle))
        }
    })
}

fn filter_of<S: 'static>(handle: Handle<EnvFilter, S>) -> LogFilter {
    LogFilter(Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())))
}

fn filter(text: &str) -> Result<EnvFilter, LogError> {
    // A span's fields may contain commas, so the parser gets these pieces unchecked.
    let mut bare = text.split(',').filter(|directive| !directive.contains(['=', '[', ']', '{', '}']));
    if let Some(word) = bare.find(|word| word.is_empty() || word.parse::<LevelFilter>().is_err()) {
        return Err(LogError::NotALevel(word.to_owned()));
    }
    EnvFilter::builder().parse(text).map_err(|error| LogError::Filter(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Returns the lines that two events write.
    fn lines(format: LogFormat, filter: &str) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = LogSink(written.clone());
        let options = Options { format, filter: filter.to_owned() };
        let (log, _) = subscriber(&options, move || sink.clone(), LogColour::Never).unwrap();
        tracing::subscriber::with_default(log, || {
            tracing::info!(kind = "refused", "Redis is unreachable");
            tracing::debug!("a detail");
        });
        String::from_utf8(written.lock().unwrap().clone()).unwrap()
    }

    #[derive(Clone)]
    struct LogSink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for LogSink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_human_format_is_a_plain_line() {
        let text = lines(LogFormat::Human, "info");
        assert!(text.contains(" INFO "), "{text}");
        assert!(text.ends_with("Redis is unreachable kind=\"refused\"\n"), "{text}");
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn the_json_format_is_an_object_a_line() {
        let text = lines(LogFormat::Json, "debug");
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|line| line.starts_with("{\"timestamp\":\"") && line.ends_with('}')));
        assert!(
            text.contains("\"level\":\"INFO\",\"message\":\"Redis is unreachable\",\"kind\":\"refused\""),
            "{text}"
        );
    }

    #[test]
    fn the_filter_decides_what_is_written() {
        assert_eq!(lines(LogFormat::Human, "off"), "");
        assert_eq!(lines(LogFormat::Human, "warn,cachewarp=info").lines().count(), 1);
    }

    #[test]
    fn invalid_filters_are_refused() {
        for good in ["info", "INFO", "off", "warn,cachewarp=debug", "cachewarp::redis=trace"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["inof", "", "info,", "cachewarp", "cachewarp::redis", "info, debug"] {
            assert!(matches!(check(bad), Err(LogError::NotALevel(_))), "{bad}");
        }
        for bad in ["cachewarp=loud", "=", "cachewarp=info=debug"] {
            assert!(matches!(check(bad), Err(LogError::Filter(_))), "{bad}: {:?}", check(bad));
        }
    }
}
