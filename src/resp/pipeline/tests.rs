use std::collections::HashSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const WINDOW: Window = Window { commands: 4, bytes: 1000 };

fn value(number: u64) -> Frame {
    Frame::Reply(Reply::Bulk(Bytes::from(number.to_string())))
}

/// The longest wait in these tests.
const TIMEOUT: Duration = Duration::from_millis(100);

fn spec(expected: ExpectedReply, bytes: usize, now: Instant) -> CommandSpec {
    CommandSpec { expected, bytes, urgency: CommandUrgency::Ordinary, submitted: now, due: now + TIMEOUT }
}

fn submit(pipeline: &mut Pipeline) -> Result<Ticket, WindowFullError> {
    pipeline.submit(spec(ExpectedReply::Value, 1, crate::time::instant()))
}

fn collect(pipeline: &mut Pipeline, ticket: Ticket) -> Result<Result<Reply, ReplyFailure>, Ticket> {
    pipeline.collect(ticket, Waker::noop())
}

#[test]
fn replies_go_to_the_oldest() {
    let mut pipeline = Pipeline::new(WINDOW);
    let tickets = [(); 3].map(|()| submit(&mut pipeline).unwrap());
    for number in 0..3 {
        assert!(matches!(pipeline.accept(value(number)), Ok(FrameMeaning::Answered(_, None))));
    }
    for (ticket, number) in tickets.into_iter().zip(["0", "1", "2"]) {
        assert_eq!(collect(&mut pipeline, ticket).unwrap(), Ok(Reply::Bulk(number.into())));
    }
}

#[test]
fn a_reply_carries_the_mark_of_its_arrival() {
    let mut pipeline = Pipeline::new(WINDOW);
    let tickets = [(); 2].map(|()| submit(&mut pipeline).unwrap());
    pipeline.accept(value(0)).unwrap();
    pipeline.mark(7);
    pipeline.accept(value(1)).unwrap();
    pipeline.mark(8);
    let marks = tickets.map(|ticket| pipeline.collect_marked(ticket, Waker::noop()).unwrap().1);
    assert_eq!(marks, [0, 7]);
}

#[test]
fn the_reply_of_an_abandoned_command_is_dropped() {
    let mut pipeline = Pipeline::new(WINDOW);
    let first = submit(&mut pipeline).unwrap();
    let second = submit(&mut pipeline).unwrap();
    pipeline.abandon(first);
    assert_eq!((pipeline.queued(), pipeline.waiting()), (2, 1));
    assert!(matches!(pipeline.accept(value(1)), Ok(FrameMeaning::Late(_))));
    let second = collect(&mut pipeline, second).unwrap_err();
    assert!(matches!(pipeline.accept(value(2)), Ok(FrameMeaning::Answered(_, Some(_)))));
    assert_eq!(collect(&mut pipeline, second).unwrap(), Ok(Reply::Bulk("2".into())));
}

#[test]
fn a_surplus_reply_desynchronises_the_stream() {
    let mut pipeline = Pipeline::new(WINDOW);
    assert_eq!(pipeline.accept(value(0)).unwrap_err(), DesyncError);
    let ticket = submit(&mut pipeline).unwrap();
    assert!(pipeline.accept(value(1)).is_ok());
    assert_eq!(pipeline.accept(value(2)).unwrap_err(), DesyncError);
    assert_eq!(collect(&mut pipeline, ticket).unwrap(), Ok(Reply::Bulk("1".into())));
}

#[test]
fn a_reply_of_another_kind_desynchronises_the_stream() {
    let simple = |text: &'static str| Reply::Simple(Bytes::from_static(text.as_bytes()));
    let error = Reply::Error(crate::resp::ErrorReply::new("ERR no".into()));
    let replies = [
        (
            Reply::Nil,
            &[ExpectedReply::Value, ExpectedReply::Outcome, ExpectedReply::DoneOrNot, ExpectedReply::Listing]
                [..],
        ),
        (Reply::Bulk("x".into()), &[ExpectedReply::Value, ExpectedReply::Outcome]),
        (simple("OK"), &[ExpectedReply::Done, ExpectedReply::DoneOrNot]),
        (simple("QUEUED"), &[]),
        (simple("PONG"), &[ExpectedReply::Pong]),
        (Reply::Integer(1), &[ExpectedReply::Count, ExpectedReply::Outcome]),
        (
            Reply::Array(vec![]),
            &[ExpectedReply::Greeting, ExpectedReply::Listing, ExpectedReply::Subscription],
        ),
        (Reply::Boolean(true), &[]),
        (error, <ExpectedReply as crate::label::Label>::ALL),
    ];
    for (reply, admitted) in replies {
        for &expected in <ExpectedReply as crate::label::Label>::ALL {
            for abandoned in [true, false] {
                let mut pipeline = Pipeline::new(WINDOW);
                let ticket = pipeline.submit(spec(expected, 1, crate::time::instant())).unwrap();
                if abandoned {
                    pipeline.abandon(ticket);
                }
                let is_admitted = pipeline.accept(Frame::Reply(reply.clone())).is_ok();
                assert_eq!(is_admitted, admitted.contains(&expected), "{reply:?} for {expected}");
            }
        }
    }
}

#[test]
fn pushes_match_no_command() {
    let mut pipeline = Pipeline::new(WINDOW);
    let push = || Frame::Push(vec![Reply::Nil]);
    assert!(matches!(pipeline.accept(push()), Ok(FrameMeaning::Push(_))));
    let ticket = submit(&mut pipeline).unwrap();
    assert!(matches!(pipeline.accept(push()), Ok(FrameMeaning::Push(_))));
    let ticket = collect(&mut pipeline, ticket).unwrap_err();
    pipeline.accept(value(1)).unwrap();
    assert_eq!(collect(&mut pipeline, ticket).unwrap(), Ok(Reply::Bulk("1".into())));
}

#[test]
fn the_window_is_of_commands_and_of_bytes() {
    let now = crate::time::instant();
    let mut pipeline = Pipeline::new(WINDOW);
    let tickets = [(); 4].map(|()| submit(&mut pipeline).unwrap());
    assert!(submit(&mut pipeline).is_err());
    // An abandoned command still takes room: the server will answer it.
    tickets.into_iter().for_each(|ticket| pipeline.abandon(ticket));
    assert!(submit(&mut pipeline).is_err());
    pipeline.accept(value(0)).unwrap();
    assert!(submit(&mut pipeline).is_ok());

    let mut pipeline = Pipeline::new(WINDOW);
    assert!(pipeline.submit(spec(ExpectedReply::Done, 1001, now)).is_err());
    assert!(pipeline.submit(spec(ExpectedReply::Done, 600, now)).is_ok());
    assert!(pipeline.submit(spec(ExpectedReply::Done, 401, now)).is_err());
    assert!(pipeline.submit(spec(ExpectedReply::Done, 400, now)).is_ok());
}

#[test]
fn uncollected_replies_are_bounded() {
    let mut pipeline = Pipeline::new(WINDOW);
    let mut tickets = Vec::new();
    while let Ok(ticket) = submit(&mut pipeline) {
        tickets.push(ticket);
        pipeline.accept(value(0)).unwrap();
    }
    assert_eq!(tickets.len(), 2 * WINDOW.commands);
    let first = tickets.remove(0);
    assert!(collect(&mut pipeline, first).unwrap().is_ok());
    assert!(submit(&mut pipeline).is_ok());
}

const DEADLINES: ReplyDeadlines =
    ReplyDeadlines { silence: Duration::from_millis(10), late: Some(Duration::from_millis(4)) };

#[test]
fn a_timeout_ends_the_wait_and_keeps_the_command_queued() {
    let start = crate::time::instant();
    let at = |millis| start + Duration::from_millis(millis);
    let mut pipeline = Pipeline::new(WINDOW);
    let [first, second, third] =
        [0, 5, 10].map(|millis| pipeline.submit(spec(ExpectedReply::Value, 1, at(millis))).unwrap());
    let first = collect(&mut pipeline, first).unwrap_err();
    let mut woken = Vec::new();
    assert_eq!(pipeline.next_timeout(DEADLINES, start), Some(at(100)));
    assert_eq!(pipeline.expire(at(105), DEADLINES, start, &mut woken), 2);
    assert_eq!(woken.len(), 1, "the second had not been polled");
    assert_eq!((pipeline.oldest(), pipeline.next_timeout(DEADLINES, start)), (Some(at(0)), Some(at(110))));
    for ticket in [first, second] {
        assert_eq!(collect(&mut pipeline, ticket).unwrap(), Err(ReplyFailure::Timeout));
    }
    for _ in 0..2 {
        let FrameMeaning::Late(timing) = pipeline.accept(value(1)).unwrap() else {
            panic!("the caller has given up")
        };
        assert_eq!(timing.urgency, CommandUrgency::Ordinary);
    }
    let FrameMeaning::Answered(timing, _) = pipeline.accept(value(3)).unwrap() else {
        panic!("the caller waits")
    };
    assert_eq!(timing.submitted, at(10));
    assert_eq!(collect(&mut pipeline, third).unwrap(), Ok(Reply::Bulk("3".into())));
    assert_eq!((pipeline.oldest(), pipeline.next_timeout(DEADLINES, start)), (None, None));
}

#[test]
fn silence_ends_the_wait_of_interactive_commands() {
    let start = crate::time::instant();
    let at = |millis| start + Duration::from_millis(millis);
    let pressing = |millis| CommandSpec {
        urgency: CommandUrgency::Interactive,
        ..spec(ExpectedReply::Value, 1, at(millis))
    };
    let unaware = ReplyDeadlines { late: None, ..DEADLINES };
    let woken = &mut Vec::new();
    let mut pipeline = Pipeline::new(WINDOW);
    let unhurried = pipeline.submit(spec(ExpectedReply::Done, 1, at(0))).unwrap();
    let first = pipeline.submit(pressing(1)).unwrap();
    let second = pipeline.submit(pressing(8)).unwrap();

    // While the connection makes progress, the reply is under way.
    for (moved, next_timeout) in [(0, 11), (5, 15), (95, 100)] {
        assert_eq!(pipeline.next_timeout(unaware, at(moved)), Some(at(next_timeout)), "moved at {moved}");
    }
    assert_eq!(pipeline.expire(at(15), unaware, at(6), woken), 0);
    // On a silent connection each deadline counts from its submission.
    assert_eq!(pipeline.expire(at(17), unaware, at(0), woken), 1);
    assert_eq!(collect(&mut pipeline, first).unwrap(), Err(ReplyFailure::Timeout));
    assert_eq!(pipeline.next_timeout(unaware, at(0)), Some(at(18)));
    // Its own deadline applies despite progress.
    assert_eq!(pipeline.expire(at(108), unaware, at(107), woken), 2);
    for ticket in [unhurried, second] {
        assert_eq!(collect(&mut pipeline, ticket).unwrap(), Err(ReplyFailure::Timeout));
    }
    assert_eq!((pipeline.queued(), pipeline.waiting()), (3, 0));
}

#[test]
fn a_caller_is_notified_once_that_its_reply_is_late() {
    let start = crate::time::instant();
    let at = |millis| start + Duration::from_millis(millis);
    let woken = &mut Vec::new();
    let mut pipeline = Pipeline::new(WINDOW);
    let unhurried = pipeline.submit(spec(ExpectedReply::Done, 1, at(0))).unwrap();
    let urgency = CommandUrgency::Interactive;
    let ticket = pipeline.submit(CommandSpec { urgency, ..spec(ExpectedReply::Value, 1, at(0)) }).unwrap();
    let ticket = collect(&mut pipeline, ticket).unwrap_err();
    assert_eq!(pipeline.next_timeout(DEADLINES, at(3)), Some(at(4)), "whatever moves");
    assert_eq!(pipeline.expire(at(3), DEADLINES, at(3), woken), 0);
    assert!(!pipeline.is_late(&ticket));
    for _ in 0..2 {
        assert_eq!(pipeline.expire(at(4), DEADLINES, at(3), woken), 0);
        assert!(pipeline.is_late(&ticket) && !pipeline.is_late(&unhurried));
        assert_eq!(woken.len(), 1);
        assert_eq!(pipeline.next_timeout(DEADLINES, at(3)), Some(at(13)));
    }
    pipeline.accept(Frame::Reply(Reply::Simple("OK".into()))).unwrap();
    assert!(pipeline.is_late(&ticket) && !pipeline.is_late(&unhurried));
    pipeline.accept(value(1)).unwrap();
    assert!(!pipeline.is_late(&ticket));
    assert_eq!(collect(&mut pipeline, ticket).unwrap(), Ok(Reply::Bulk("1".into())));
    assert!(collect(&mut pipeline, unhurried).unwrap().is_ok());
}

#[test]
fn the_end_of_the_connection_fails_every_caller() {
    let mut pipeline = Pipeline::new(WINDOW);
    let [answered, waiting, abandoned] = [(); 3].map(|()| submit(&mut pipeline).unwrap());
    pipeline.accept(value(0)).unwrap();
    pipeline.abandon(abandoned);
    pipeline.fail(ReplyFailure::Closed, &mut Vec::new());
    assert!(collect(&mut pipeline, answered).unwrap().is_ok());
    assert_eq!(collect(&mut pipeline, waiting).unwrap(), Err(ReplyFailure::Closed));
    assert_eq!((pipeline.queued(), pipeline.waiting()), (0, 0));
}

/// An event of a pipeline. Indices choose among the open tickets.
#[derive(Clone, Debug)]
enum PipelineEvent {
    Submit {
        bytes: usize,
    },
    Abandon(prop::sample::Index),
    Collect(prop::sample::Index),
    Answer,
    Push,
    /// A check of the deadlines.
    Ring,
    End,
}

fn event() -> impl Strategy<Value = PipelineEvent> {
    prop_oneof![
        8 => (1_usize..400).prop_map(|bytes| PipelineEvent::Submit { bytes }),
        2 => any::<prop::sample::Index>().prop_map(PipelineEvent::Abandon),
        6 => any::<prop::sample::Index>().prop_map(PipelineEvent::Collect),
        6 => Just(PipelineEvent::Answer),
        1 => Just(PipelineEvent::Push),
        1 => Just(PipelineEvent::Ring),
        1 => Just(PipelineEvent::End),
    ]
}

/// A naive model: commands have numbers, and a reply carries the number of its command.
#[derive(Default)]
struct PipelineModel {
    /// Number, bytes, time.
    line: VecDeque<(u64, usize, u64)>,
    /// Abandoned or expired.
    given_up: HashSet<u64>,
    results: std::collections::HashMap<u64, Result<u64, ReplyFailure>>,
}

proptest! {
    #[test]
    fn no_reply_ever_goes_to_another_command(events in prop::collection::vec(event(), 1..300)) {
        let start = crate::time::instant();
        let mut pipeline = Pipeline::new(WINDOW);
        let mut model = PipelineModel::default();
        let mut out: Vec<(u64, Ticket)> = Vec::new();
        for (time, event) in (0_u64..).zip(events) {
            let now = start + TIMEOUT / 20 * u32::try_from(time).unwrap();
            match event {
                PipelineEvent::Submit { bytes } => {
                    let room = model.line.len() < WINDOW.commands
                        && model.line.iter().map(|command| command.1).sum::<usize>() + bytes <= WINDOW.bytes
                        && out.len() < 2 * WINDOW.commands;
                    let ticket = pipeline.submit(spec(ExpectedReply::Value, bytes, now));
                    prop_assert_eq!(ticket.is_ok(), room);
                    if let Ok(ticket) = ticket {
                        model.line.push_back((time, bytes, time));
                        out.push((time, ticket));
                    }
                }
                PipelineEvent::Abandon(index) if !out.is_empty() => {
                    let (number, ticket) = out.swap_remove(index.index(out.len()));
                    pipeline.abandon(ticket);
                    model.given_up.insert(number);
                    model.results.remove(&number);
                }
                PipelineEvent::Collect(index) if !out.is_empty() => {
                    let (number, ticket) = out.swap_remove(index.index(out.len()));
                    match (pipeline.collect(ticket, Waker::noop()), model.results.remove(&number)) {
                        (Ok(Ok(Reply::Bulk(value))), Some(Ok(expected))) => {
                            prop_assert_eq!(value, expected.to_string());
                        }
                        (Ok(Err(failure)), Some(Err(expected))) => prop_assert_eq!(failure, expected),
                        (Err(ticket), None) => out.push((number, ticket)),
                        (got, expected) => prop_assert!(false, "{:?} for {:?}", got, expected),
                    }
                }
                PipelineEvent::Abandon(_) | PipelineEvent::Collect(_) => {}
                PipelineEvent::Answer => match model.line.pop_front() {
                    Some((number, ..)) => {
                        let late = model.given_up.contains(&number);
                        let arrival = pipeline.accept(value(number)).unwrap();
                        prop_assert_eq!(matches!(arrival, FrameMeaning::Late(_)), late);
                        if !late {
                            model.results.insert(number, Ok(number));
                        }
                    }
                    None => prop_assert!(pipeline.accept(value(time)).is_err()),
                },
                PipelineEvent::Push => {
                    let arrival = pipeline.accept(Frame::Push(vec![])).unwrap();
                    prop_assert!(matches!(arrival, FrameMeaning::Push(_)));
                }
                PipelineEvent::Ring => {
                    pipeline.expire(now, DEADLINES, start, &mut Vec::new());
                    for &(number, _, submitted) in &model.line {
                        if time - submitted >= 20 && model.given_up.insert(number) {
                            model.results.insert(number, Err(ReplyFailure::Timeout));
                        }
                    }
                }
                PipelineEvent::End => {
                    pipeline.fail(ReplyFailure::Closed, &mut Vec::new());
                    for (number, ..) in model.line.drain(..) {
                        if !model.given_up.contains(&number) {
                            model.results.insert(number, Err(ReplyFailure::Closed));
                        }
                    }
                }
            }
            let waiting = model.line.iter().filter(|command| !model.given_up.contains(&command.0)).count();
            prop_assert_eq!((pipeline.queued(), pipeline.waiting()), (model.line.len(), waiting));
        }
    }
}
