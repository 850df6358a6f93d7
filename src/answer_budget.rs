//! Budget of the stored bytes that answers hold until their clients have read them, in all and by
//! client.
//!
//! A stored response is sent as a reference to its buffer. While its client does not read, the
//! buffer stays in memory, although the store may have evicted it. The budget counts each buffer
//! once in all, and once for each client. When the buffers exceed the budget, the client that holds
//! the most loses its oldest answers until they do not: the server closes their connections. So a
//! client that reads nothing costs the others nothing.
//!
//! **Always:** the buffers of all answers that are not cut fit the budget, or there is one answer.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::client_address::{AddressPermit, ClientNetwork};

/// Connection that carries an answer.
pub trait CutReader: Send + Sync {
    /// Closes the connection, because its answer is cut.
    fn cut(&self);
}

/// Budget of a process. Clones share it.
#[derive(Clone, Debug)]
pub struct AnswerBudget(Arc<BudgetTable>);

#[derive(Debug)]
struct BudgetTable {
    bytes_max: usize,
    answers_cut: AtomicU64,
    state: Mutex<BudgetState>,
}

#[derive(Default)]
struct BudgetState {
    all: HeldBuffers,
    clients: HashMap<ClientNetwork, ClientAnswers>,
    /// Number of the next answer.
    next: u64,
}

/// Prints only the name: the settings that contain it have no use for its state.
impl std::fmt::Debug for BudgetState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BudgetState")
    }
}

/// Distinct buffers, with the number of answers that hold each.
#[derive(Default)]
struct HeldBuffers {
    bytes: usize,
    buffers: HashMap<BufferId, usize>,
}

/// Address and length of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct BufferId {
    address: usize,
    bytes: usize,
}

#[derive(Default)]
struct ClientAnswers {
    held: HeldBuffers,
    /// Answers by their number, oldest first.
    answers: BTreeMap<u64, OpenAnswer>,
}

struct OpenAnswer {
    buffer: BufferId,
    /// The connection, once the answer has one.
    reader: Option<Weak<dyn CutReader>>,
}

/// Resources that an answer holds until its client has read it.
#[derive(Debug)]
pub struct AnswerHold(HeldResources);

#[derive(Debug)]
enum HeldResources {
    Permit(#[expect(dead_code, reason = "it is held")] AddressPermit),
    /// Boxed, because few answers are counted and all of them move.
    Counted(Box<AnswerCharge>),
}

/// Bytes of one answer in the budget, with the permit of its client.
#[derive(Debug)]
struct AnswerCharge {
    _permit: Option<AddressPermit>,
    table: Arc<BudgetTable>,
    client: ClientNetwork,
    number: u64,
}

impl HeldBuffers {
    fn add(&mut self, buffer: BufferId) {
        let holders = self.buffers.entry(buffer).or_insert(0);
        *holders += 1;
        if *holders == 1 {
            self.bytes = self.bytes.saturating_add(buffer.bytes);
        }
    }

    fn remove(&mut self, buffer: BufferId) {
        if let Entry::Occupied(mut holders) = self.buffers.entry(buffer) {
            *holders.get_mut() -= 1;
            if *holders.get() == 0 {
                holders.remove();
                self.bytes = self.bytes.saturating_sub(buffer.bytes);
            }
        }
    }
}

impl AnswerBudget {
    /// Creates a budget of this many bytes.
    pub fn new(bytes_max: usize) -> Self {
        let state = Mutex::default();
        Self(Arc::new(BudgetTable { bytes_max, answers_cut: AtomicU64::new(0), state }))
    }

    /// Counts an answer of this client, which holds a buffer at `address`, and cuts older ones if
    /// the budget is exceeded.
    pub fn hold(
        &self,
        client: ClientNetwork,
        address: *const u8,
        bytes: usize,
        permit: Option<AddressPermit>,
    ) -> AnswerHold {
        let buffer = BufferId { address: address.addr(), bytes };
        let (number, cut) = {
            let mut state = self.0.state();
            let number = state.add(client, buffer);
            (number, state.cut_excess(self.0.bytes_max))
        };
        self.0.answers_cut.fetch_add(cut.len() as u64, Ordering::Relaxed);
        // Outside of the lock: a connection may end here, and its answers with it.
        cut.iter().flatten().filter_map(Weak::upgrade).for_each(|reader| reader.cut());
        let charge = AnswerCharge { _permit: permit, table: Arc::clone(&self.0), client, number };
        AnswerHold(HeldResources::Counted(Box::new(charge)))
    }

    /// Returns the number of bytes that answers hold.
    pub fn bytes(&self) -> usize {
        self.0.state().all.bytes
    }

    /// Returns the number of answers that were cut.
    pub fn answers_cut(&self) -> u64 {
        self.0.answers_cut.load(Ordering::Relaxed)
    }
}

impl BudgetTable {
    fn state(&self) -> MutexGuard<'_, BudgetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BudgetState {
    fn add(&mut self, client: ClientNetwork, buffer: BufferId) -> u64 {
        let number = self.next;
        self.next += 1;
        self.all.add(buffer);
        let client = self.clients.entry(client).or_default();
        client.held.add(buffer);
        client.answers.insert(number, OpenAnswer { buffer, reader: None });
        number
    }

    fn remove(&mut self, client: ClientNetwork, number: u64) -> Option<OpenAnswer> {
        let Entry::Occupied(mut held) = self.clients.entry(client) else { return None };
        let answer = held.get_mut().answers.remove(&number)?;
        held.get_mut().held.remove(answer.buffer);
        if held.get().answers.is_empty() {
            held.remove();
        }
        self.all.remove(answer.buffer);
        Some(answer)
    }

    /// Removes answers until the rest fits the budget or one is left, and returns their
    /// connections. Among clients that hold the same, the one with the oldest answer loses it.
    fn cut_excess(&mut self, bytes_max: usize) -> Vec<Option<Weak<dyn CutReader>>> {
        let mut cut = Vec::new();
        while self.all.bytes > bytes_max {
            let oldest = self.clients.iter().filter_map(|(client, held)| {
                let number = *held.answers.keys().next()?;
                Some((held.held.bytes, Reverse(number), *client))
            });
            let Some((_, Reverse(oldest), client)) =
                oldest.max_by_key(|(bytes, number, _)| (*bytes, *number))
            else {
                break;
            };
            if self.clients.values().map(|client| client.answers.len()).sum::<usize>() == 1 {
                break;
            }
            cut.extend(self.remove(client, oldest).map(|answer| answer.reader));
        }
        cut
    }
}

impl AnswerHold {
    /// Holds a permit, and no counted bytes.
    pub fn permit(permit: AddressPermit) -> Self {
        Self(HeldResources::Permit(permit))
    }

    /// Attaches the connection that carries the answer. Closes it if the answer is cut already.
    pub fn attach<R: CutReader + 'static>(&self, reader: &Arc<R>) {
        let HeldResources::Counted(charge) = &self.0 else { return };
        let reader: Weak<dyn CutReader> = Arc::downgrade(reader) as Weak<dyn CutReader>;
        let is_cut = {
            let mut state = charge.table.state();
            let answers = state.clients.get_mut(&charge.client).map(|client| &mut client.answers);
            match answers.and_then(|answers| answers.get_mut(&charge.number)) {
                Some(answer) => {
                    answer.reader = Some(Weak::clone(&reader));
                    false
                }
                None => true,
            }
        };
        if is_cut && let Some(reader) = reader.upgrade() {
            reader.cut();
        }
    }

    /// Returns whether the answer has counted bytes, so that it can be cut.
    pub fn is_counted(&self) -> bool {
        matches!(self.0, HeldResources::Counted(_))
    }
}

impl Drop for AnswerCharge {
    fn drop(&mut self) {
        drop(self.table.state().remove(self.client, self.number));
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[derive(Default)]
    struct TestReader(AtomicBool);

    impl CutReader for TestReader {
        fn cut(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// An answer with its buffer and its connection.
    struct TestAnswer {
        reader: Arc<TestReader>,
        _hold: AnswerHold,
        _buffer: Arc<Vec<u8>>,
    }

    impl TestAnswer {
        fn begin(budget: &AnswerBudget, last: u8, buffer: &Arc<Vec<u8>>) -> Self {
            let client = IpAddr::from([192, 0, 2, last]).into();
            let hold = budget.hold(client, buffer.as_ptr(), buffer.len(), None);
            let reader = Arc::new(TestReader::default());
            hold.attach(&reader);
            Self { reader, _hold: hold, _buffer: Arc::clone(buffer) }
        }

        fn is_cut(&self) -> bool {
            self.reader.0.load(Ordering::Relaxed)
        }
    }

    fn buffer(bytes: usize) -> Arc<Vec<u8>> {
        Arc::new(vec![0; bytes])
    }

    #[test]
    fn the_client_that_holds_the_most_loses_its_oldest_answers() {
        let budget = AnswerBudget::new(100);
        let other = TestAnswer::begin(&budget, 1, &buffer(30));
        let greedy: Vec<_> = (0..5).map(|_| TestAnswer::begin(&budget, 2, &buffer(20))).collect();
        assert_eq!(
            greedy.iter().map(TestAnswer::is_cut).collect::<Vec<_>>(),
            [true, true, false, false, false]
        );
        assert_eq!((budget.bytes(), budget.answers_cut()), (90, 2));
        let late = TestAnswer::begin(&budget, 3, &buffer(40));
        assert!(!other.is_cut() && !late.is_cut(), "others lose nothing");
        assert_eq!(greedy.iter().filter(|answer| answer.is_cut()).count(), 4);
        assert_eq!(budget.bytes(), 90);
        drop((other, greedy, late));
        assert_eq!((budget.bytes(), budget.0.state().clients.len()), (0, 0));
    }

    #[test]
    fn a_buffer_counts_once_for_all_its_readers() {
        let (budget, shared) = (AnswerBudget::new(100), buffer(60));
        let readers: Vec<_> = (0..100).map(|number| TestAnswer::begin(&budget, number, &shared)).collect();
        assert_eq!(budget.bytes(), 60);
        assert!(readers.iter().all(|answer| !answer.is_cut()));
        drop(readers);
        assert_eq!(budget.bytes(), 0);
    }

    #[test]
    fn an_answer_alone_may_exceed_the_budget_and_a_cut_one_is_closed_at_once() {
        let budget = AnswerBudget::new(100);
        let large = TestAnswer::begin(&budget, 1, &buffer(500));
        assert!(!large.is_cut());
        // The connection of this answer comes after the cut.
        let client = IpAddr::from([192, 0, 2, 2]).into();
        let (first, second) = (buffer(90), buffer(80));
        let hold = budget.hold(client, first.as_ptr(), first.len(), None);
        assert!(large.is_cut());
        let newer = budget.hold(client, second.as_ptr(), second.len(), None);
        let reader = Arc::new(TestReader::default());
        hold.attach(&reader);
        assert!(reader.0.load(Ordering::Relaxed));
        drop((hold, newer));
        assert_eq!(budget.bytes(), 0);
    }
}
