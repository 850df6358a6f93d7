//! The thread that writes the lines.
//!
//! The workers render their lines. The thread sleeps while there is no line. The first line wakes
//! it, and it waits a moment for more, so that a busy process pays one write for many lines.
//! Nothing but this thread touches the output: if the reader of the pipe stops, only this thread
//! stops.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};

use memchr::{memchr, memchr_iter};

use super::options::AccessLogOptions;
use super::queue::{LineBatch, LineLoss, LineQueue, LineSender};
use super::recorder::RequestRecorder;
use super::render::LineRenderer;
use super::slow::SlowLog;
use crate::limits::{ACCESS_FLUSH_TIMEOUT, ACCESS_GATHER_TIME, ACCESS_WRITE_BYTES};
use crate::telemetry::counters::{Counter, Counters};
use crate::telemetry::registry::Registry;

/// The access log of a process, for its workers.
#[derive(Clone, Debug)]
pub struct AccessLog {
    options: AccessLogOptions,
    queues: Vec<LineQueue>,
    /// `None` if no lines are written.
    writer: Option<Thread>,
}

/// The owner of the writing thread. Dropping it lets the thread write what it has and end.
#[derive(Debug)]
pub struct AccessLogWriter {
    stops: Arc<AtomicBool>,
    thread: Option<Thread>,
    /// The end of the thread. The owner is shared between threads, and a receiver alone is not.
    ended: Option<Mutex<Receiver<()>>>,
}

impl AccessLog {
    /// Starts the thread that writes lines to standard output, if the options ask for lines.
    pub fn start(
        options: AccessLogOptions,
        workers: usize,
        registry: &Registry,
    ) -> io::Result<(Self, AccessLogWriter)> {
        // The file has no buffer of its own, unlike `Stdout`.
        let output = options.format.map(|_| io::stdout().as_fd().try_clone_to_owned()).transpose()?;
        Self::start_on(options, workers, registry, output.map(File::from))
    }

    /// Starts the thread if there is an output.
    fn start_on(
        options: AccessLogOptions,
        workers: usize,
        registry: &Registry,
        output: Option<impl Write + Send + 'static>,
    ) -> io::Result<(Self, AccessLogWriter)> {
        let queues: Vec<_> = (0..workers).map(|_| LineQueue::default()).collect();
        let stops = Arc::new(AtomicBool::new(false));
        let counts = WriterCounts::new(registry);
        let Some(output) = options.format.and(output) else {
            let writer = AccessLogWriter { stops, thread: None, ended: None };
            return Ok((Self { options, queues, writer: None }, writer));
        };
        let (end, ended) = sync_channel(1);
        let mut writing = WritingThread {
            queues: queues.clone(),
            sink: LineSink {
                counts,
                output,
                stops: Arc::clone(&stops),
                is_torn: false,
                has_warned: false,
                is_closed: false,
            },
        };
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            writing.run();
            // The owner may be gone.
            let _ = end.send(());
        })?;
        let thread = thread.thread().clone();
        let log = Self { options, queues, writer: Some(thread.clone()) };
        Ok((log, AccessLogWriter { stops, thread: Some(thread), ended: Some(Mutex::new(ended)) }))
    }

    /// Returns the recorder of a worker, or `None` if nothing is logged.
    pub fn recorder(&self, worker: usize, registry: &Registry) -> Option<Rc<RequestRecorder>> {
        let lost = lost_lines(registry);
        let AccessLogOptions { format, path, slow_threshold } = self.options;
        let writer = self.writer.clone().zip(format);
        let sender = writer.zip(self.queues.get(worker)).map(|((writer, format), queue)| LineSender {
            renderer: LineRenderer::new(format, path).into(),
            queue: queue.clone(),
            writer,
            lost,
        });
        let slow = slow_threshold.map(SlowLog::new);
        let is_on = sender.is_some() || slow.is_some();
        is_on.then(|| Rc::new(RequestRecorder::new(path, sender, slow)))
    }
}

impl AccessLogWriter {
    /// Waits until all lines are written, for a bounded time: the reader of the pipe may have
    /// stopped. The workers have ended.
    pub fn close(mut self) {
        self.stop();
        if let Some(ended) = self.ended.take() {
            let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
            // The thread ends, or the process ends without it.
            let _ = ended.recv_timeout(ACCESS_FLUSH_TIMEOUT);
        }
    }

    fn stop(&self) {
        self.stops.store(true, Ordering::Relaxed);
        if let Some(thread) = &self.thread {
            // `unpark` makes the store visible to the thread.
            thread.unpark();
        }
    }
}

impl Drop for AccessLogWriter {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lost_lines(registry: &Registry) -> Counters<LineLoss> {
    registry.counters(
        "cachewarp_access_log_lines_lost",
        "Lines of the access log that were not written, by reason",
        "reason",
    )
}

/// The counters of the writing thread.
#[derive(Debug)]
struct WriterCounts {
    written: Counter,
    lost: Counters<LineLoss>,
}

impl WriterCounts {
    fn new(registry: &Registry) -> Self {
        Self {
            written: registry
                .counter("cachewarp_access_log_lines", "Lines of the access log that were written"),
            lost: lost_lines(registry),
        }
    }
}

/// The state of the writing thread.
struct WritingThread<W> {
    queues: Vec<LineQueue>,
    sink: LineSink<W>,
}

impl<W: Write> WritingThread<W> {
    fn run(&mut self) {
        let mut batch = LineBatch::default();
        loop {
            // The flag is read before the queues, so lines that precede the stop are written.
            let stops = self.sink.stops();
            match self.write_queues(&mut batch) {
                Ok(0) if stops => return,
                Ok(0) => thread::park(),
                Ok(_) => {}
                Err(_) => return self.queues.iter().for_each(LineQueue::close),
            }
            if !stops {
                thread::park_timeout(ACCESS_GATHER_TIME);
            }
        }
    }

    /// Writes the lines of all queues and returns their number. Fails if the reader is gone.
    fn write_queues(&mut self, batch: &mut LineBatch) -> io::Result<u64> {
        let Self { queues, sink } = self;
        let mut lines = 0;
        let mut end = Ok(());
        for queue in queues {
            queue.take(batch);
            lines += batch.lines;
            // Every line is written or counted as lost, also behind a failure.
            end = sink.write(batch).and(end);
            batch.clear();
        }
        end.map(|()| lines)
    }
}

/// The output, and the fate of its lines.
struct LineSink<W> {
    counts: WriterCounts,
    output: W,
    stops: Arc<AtomicBool>,
    /// Whether the last write ended within a line.
    is_torn: bool,
    /// Whether the process log has the current failure.
    has_warned: bool,
    /// Whether the reader is gone.
    is_closed: bool,
}

impl<W: Write> LineSink<W> {
    fn stops(&self) -> bool {
        self.stops.load(Ordering::Relaxed)
    }

    /// Writes the lines of a batch, in parts, and counts them. Fails if the reader is gone.
    fn write(&mut self, batch: &LineBatch) -> io::Result<()> {
        if batch.text.len() <= ACCESS_WRITE_BYTES {
            return self.write_lines(&batch.text, batch.lines);
        }
        let mut end = Ok(());
        let mut rest = batch.text.as_slice();
        while !rest.is_empty() {
            let behind = rest.get(ACCESS_WRITE_BYTES..).and_then(|behind| memchr(b'\n', behind));
            let length = behind.map_or(rest.len(), |at| ACCESS_WRITE_BYTES + at + 1);
            let (part, next) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            end = self.write_lines(part, memchr_iter(b'\n', part).count() as u64).and(end);
            rest = next;
        }
        end
    }

    /// Writes these lines and counts them. Fails if the reader is gone.
    fn write_lines(&mut self, text: &[u8], lines: u64) -> io::Result<()> {
        if lines == 0 {
            return Ok(());
        }
        if self.is_closed {
            self.counts.lost.add(LineLoss::Closed, lines);
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match self.write_whole(text) {
            Ok(()) => {
                self.counts.written.add(lines);
                self.has_warned = false;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                self.counts.lost.add(LineLoss::Closed, lines);
                tracing::warn!("the reader of standard output is gone; the access log ends");
                Err(error)
            }
            Err(error) => {
                self.counts.lost.add(LineLoss::WriteFailed, lines);
                if !std::mem::replace(&mut self.has_warned, true) {
                    tracing::warn!(%error, "cannot write the access log; dropping lines until it succeeds");
                }
                Ok(())
            }
        }
    }

    fn write_whole(&mut self, text: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_part(b"\n")?;
        }
        let mut rest = text;
        while !rest.is_empty() {
            let count = self.write_part(rest)?;
            let (part, unwritten) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            self.is_torn = part.last() != Some(&b'\n');
            rest = unwritten;
        }
        Ok(())
    }

    /// Writes at least one byte. An output that does not block gets time to empty.
    fn write_part(&mut self, text: &[u8]) -> io::Result<usize> {
        loop {
            match self.output.write(text) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.stops() => {
                    thread::park_timeout(ACCESS_GATHER_TIME);
                }
                end => return end,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Condvar;
    use std::time::Duration;

    use bytes::Bytes;
    use http::{Request, StatusCode};
    use http_body_util::Empty;

    use super::*;
    use crate::key::Scheme;
    use crate::limits::ACCESS_QUEUE_LINES_MAX;
    use crate::telemetry::access::line::AnswerEnd;
    use crate::telemetry::access::options::{AccessFormat, LoggedPath};
    use crate::telemetry::access::recorder::LoggedRequest;
    use crate::telemetry::trace::RequestTrace;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// An output that follows a script, then accepts everything unless it is shut.
    #[derive(Clone, Default)]
    struct ScriptedOutput(Arc<(Mutex<OutputState>, Condvar)>);

    #[derive(Default)]
    struct OutputState {
        script: VecDeque<io::Result<usize>>,
        is_shut: bool,
        written: Vec<u8>,
        writes: usize,
    }

    impl ScriptedOutput {
        fn script(&self, steps: impl IntoIterator<Item = io::Result<usize>>) {
            self.0.0.lock().unwrap().script.extend(steps);
        }

        fn shut(&self, is_shut: bool) {
            self.0.0.lock().unwrap().is_shut = is_shut;
            self.0.1.notify_all();
        }

        /// Waits until the writer has begun this many writes.
        fn await_writes(&self, writes: usize) {
            let (state, changed) = &*self.0;
            let state = state.lock().unwrap();
            let waited =
                changed.wait_timeout_while(state, Duration::from_secs(20), |state| state.writes < writes);
            assert!(!waited.unwrap().1.timed_out(), "the writer does not write");
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().written.clone()).unwrap()
        }
    }

    impl Write for ScriptedOutput {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (state, changed) = &*self.0;
            let mut state = state.lock().unwrap();
            state.writes += 1;
            changed.notify_all();
            let mut state = changed.wait_while(state, |state| state.is_shut).unwrap();
            let count = state.script.pop_front().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
            state.written.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Stage {
        output: ScriptedOutput,
        registry: Registry,
        recorder: Rc<RequestRecorder>,
        writer: AccessLogWriter,
    }

    fn stage() -> Stage {
        let (output, registry) = (ScriptedOutput::default(), Registry::new());
        let options = AccessLogOptions {
            format: Some(AccessFormat::Json),
            path: LoggedPath::Route,
            slow_threshold: None,
        };
        let (log, writer) = AccessLog::start_on(options, 1, &registry, Some(output.clone())).unwrap();
        let recorder = log.recorder(0, &registry).unwrap();
        Stage { output, registry, recorder, writer }
    }

    impl Stage {
        /// Finishes a request for a path.
        fn request(&self, path: &str) {
            drop(self.begin(path));
        }

        fn begin(&self, path: &str) -> LoggedRequest {
            let request = Request::get(path).header("host", "a.test").body(Empty::<Bytes>::new()).unwrap();
            let mut logged =
                self.recorder.begin(PEER, Scheme::Http, &request, None, &RequestTrace::default());
            logged.head(StatusCode::OK);
            logged.ended(AnswerEnd::Complete);
            logged
        }

        fn metric(&self, series: &str) -> u64 {
            let page = self.registry.render();
            let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {series} in {page}")).parse().unwrap()
        }
    }

    #[test]
    fn the_end_of_the_process_waits_for_all_lines() {
        let stage = stage();
        for number in 0..1000 {
            stage.request(&format!("/{number}"));
        }
        let Stage { output, registry, recorder, writer } = stage;
        writer.close();
        let text = output.text();
        assert_eq!(text.lines().count(), 1000);
        for (number, line) in text.lines().enumerate() {
            assert!(line.contains(&format!("\"url.path\":\"/{number}\"")), "{line}");
        }
        assert!(registry.render().contains("cachewarp_access_log_lines_total 1000\n"));
        assert_eq!(recorder.free.borrow().len(), 1, "one cell serves all requests");
    }

    #[test]
    fn a_line_wakes_a_writer_that_sleeps() {
        let stage = stage();
        for writes in 1..=3 {
            stage.request("/a");
            stage.output.await_writes(writes);
        }
    }

    #[test]
    fn a_full_pipe_delays_no_request_and_no_end() {
        let stage = stage();
        stage.output.shut(true);
        stage.request("/first");
        stage.output.await_writes(1);
        for _ in 0..ACCESS_QUEUE_LINES_MAX + 7 {
            stage.request("/more");
        }
        let lost = r#"cachewarp_access_log_lines_lost_total{reason="queue-full"}"#;
        assert_eq!(stage.metric(lost), 7);
        stage.output.shut(false);
        let output = stage.output.clone();
        stage.writer.close();
        assert_eq!(output.text().lines().count(), 1 + ACCESS_QUEUE_LINES_MAX);
    }

    #[test]
    fn a_closed_pipe_ends_the_log() {
        let stage = stage();
        stage.output.script([Err(io::ErrorKind::BrokenPipe.into())]);
        stage.request("/a");
        let Stage { output, registry, recorder, writer } = stage;
        writer.close();
        let stage = Stage { output, registry, recorder, writer: idle_writer() };
        stage.request("/b");
        assert_eq!(stage.metric(r#"cachewarp_access_log_lines_lost_total{reason="closed"}"#), 2);
        assert_eq!(stage.output.text(), "");
    }

    fn idle_writer() -> AccessLogWriter {
        AccessLogWriter { stops: Arc::default(), thread: None, ended: None }
    }

    #[test]
    fn a_line_behind_a_torn_one_begins_a_line() {
        let stage = stage();
        let full = || Err(io::ErrorKind::StorageFull.into());
        stage.output.script([Err(io::ErrorKind::Interrupted.into()), Ok(10), full()]);
        stage.request("/torn");
        stage.output.await_writes(3);
        stage.request("/whole");
        let output = stage.output.clone();
        let lost = r#"cachewarp_access_log_lines_lost_total{reason="write-failed"}"#;
        stage.output.await_writes(5);
        assert_eq!((stage.metric(lost), output.text().lines().count()), (1, 2));
        assert!(output.text().lines().nth(1).unwrap().contains("/whole"), "{}", output.text());
        stage.writer.close();
    }

    #[test]
    fn an_output_that_does_not_block_gets_time() {
        let stage = stage();
        stage.output.script([
            Err(io::ErrorKind::WouldBlock.into()),
            Ok(3),
            Err(io::ErrorKind::WouldBlock.into()),
        ]);
        stage.request("/a");
        stage.output.await_writes(4);
        let output = stage.output.clone();
        stage.writer.close();
        assert_eq!(output.text().lines().count(), 1);
    }

    #[test]
    fn without_a_format_and_a_threshold_nothing_is_recorded() {
        let registry = Registry::new();
        let options = AccessLogOptions { format: None, path: LoggedPath::Route, slow_threshold: None };
        let (log, writer) = AccessLog::start_on(options.clone(), 1, &registry, Some(io::sink())).unwrap();
        assert!(log.recorder(0, &registry).is_none());
        writer.close();
        let options = AccessLogOptions { slow_threshold: Some(Duration::ZERO), ..options };
        let (log, _writer) = AccessLog::start_on(options, 1, &registry, Some(io::sink())).unwrap();
        assert!(log.recorder(0, &registry).is_some());
    }

    #[test]
    fn a_tunnel_writes_the_line_at_its_end() {
        let stage = stage();
        let logged = stage.begin("/t");
        let tunnel = logged.record().take_for_tunnel();
        logged.head(StatusCode::SWITCHING_PROTOCOLS);
        drop(logged);
        stage.request("/after");
        tunnel.bytes.from_client.set(3);
        tunnel.bytes.to_client.set(4);
        tunnel.ended(AnswerEnd::TunnelIdle);
        let output = stage.output.clone();
        stage.writer.close();
        let text = output.text();
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[0].contains("/after") && lines[1].contains("\"cachewarp.end\":\"tunnel-idle\""),
            "{text}"
        );
        assert!(
            lines[1].contains("\"http.response.status_code\":101,\"http.response.body.size\":4"),
            "{text}"
        );
        assert!(lines[1].contains("\"cachewarp.tunnel.received.size\":3"), "{text}");
    }

    #[test]
    fn a_note_after_the_end_changes_no_other_line() {
        let stage = stage();
        let logged = stage.begin("/a");
        let late = logged.record();
        drop(logged);
        stage.request("/b");
        late.note(|facts| facts.outcome = Some("miss"));
        let output = stage.output.clone();
        stage.writer.close();
        assert!(!output.text().contains("miss"), "{}", output.text());
    }
}
