//! "Did you mean": the closest of a few words.

/// Slips of the finger that are forgiven: letters left out, put in, changed, or swapped with the
/// next.
const SLIPS_MAX: usize = 2;

/// The candidate that is fewest slips away from `word`, if that is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near_enough = SLIPS_MAX.min(word.chars().count() / 3);
    candidates
        .into_iter()
        .map(|candidate| (slips(word, candidate), candidate))
        .filter(|(slips, _)| *slips <= near_enough)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// The distance of optimal string alignment, without regard to case.
fn slips(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.to_lowercase().chars().collect();
    let to: Vec<char> = to.to_lowercase().chars().collect();
    let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);

    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, &letter) in from.iter().enumerate() {
        let mut this = vec![row + 1];
        for (column, &other) in to.iter().enumerate() {
            let changed = at(&last, column) + usize::from(letter != other);
            let mut fewest = changed.min(at(&last, column + 1) + 1).min(at(&this, column) + 1);
            let swapped = row > 0
                && column > 0
                && from.get(row - 1) == Some(&other)
                && to.get(column - 1) == Some(&letter);
            if swapped {
                fewest = fewest.min(at(&before_last, column - 1) + 1);
            }
            this.push(fewest);
        }
        before_last = std::mem::replace(&mut last, this);
    }
    at(&last, to.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_slips() {
        for (from, to, want) in [
            ("", "", 0),
            ("json", "json", 0),
            ("JSON", "json", 0),
            ("jsn", "json", 1),
            ("jsson", "json", 1),
            ("jzon", "json", 1),
            ("josn", "json", 1),
            ("human", "json", 4),
            ("", "abc", 3),
            ("abc", "", 3),
        ] {
            assert_eq!(slips(from, to), want, "{from} {to}");
        }
    }

    #[test]
    fn only_what_is_near_is_meant() {
        let words = ["redis_url", "redis_timeout", "log_level"];
        assert_eq!(nearest("redis_ulr", words), Some("redis_url"));
        assert_eq!(nearest("redis_timout", words), Some("redis_timeout"));
        assert_eq!(nearest("PATH", words), None);
        assert_eq!(nearest("a", ["b"]), None);
    }
}
