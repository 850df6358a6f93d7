//! Closed sets of names.
//!
//! A decision is a variant, and its one word is the log field, the metric label and the
//! `Cache-Status` detail. [`Label`] is the interface of such an enum; [`labels!`](crate::labels)
//! declares one.

/// The label of the items that have no series of their own, because their number is bounded.
pub const OTHER: &str = "other";

/// An enum whose variants each have one word, and a place in a table of counters.
pub trait Label: Copy + 'static {
    /// Every variant, in the order of [`Label::index`].
    const ALL: &'static [Self];

    /// Returns the word: lower case, digits and `-`, or a name of HTTP. It never changes once
    /// published.
    fn word(self) -> &'static str;

    /// Returns the position of this variant in [`Label::ALL`].
    fn index(self) -> usize;
}

/// A label of a decision: each variant is a rule with a clause.
pub trait RuleLabel: Label {
    /// Returns the clause: a section of an RFC, the name of a setting, or both separated by a
    /// comma; never empty.
    fn clause(self) -> &'static str;
}

/// Declares an enum with a word for each variant:
///
/// ```
/// cachewarp::labels! {
///     /// The tier of an entry.
///     pub enum Tier {
///         /// The memory of this process.
///         Memory => "memory",
///         /// The Redis of the fleet.
///         Redis => "redis",
///     }
/// }
/// # use cachewarp::label::Label;
/// assert_eq!(Tier::Redis.word(), "redis");
/// assert_eq!(Tier::ALL.len(), 2);
/// ```
///
/// and, if each variant is a rule, with its clause, which follows the variant's documentation:
///
/// ```
/// cachewarp::labels! {
///     /// The reason for not storing a response.
///     pub enum Refusal {
///         /// The origin forbids it.
///         NoStore => "no-store" in "RFC 9111 §5.2.2.5",
///     }
/// }
/// # use cachewarp::label::RuleLabel;
/// assert_eq!(Refusal::NoStore.clause(), "RFC 9111 §5.2.2.5");
/// ```
#[macro_export]
macro_rules! labels {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $($(#[$doc])* $variant,)+ }

        impl $crate::label::Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            fn index(self) -> usize {
                self as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::label::Label::word(*self))
            }
        }
    };
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$doc:meta])* $variant:ident => $word:literal in $clause:literal,)+
    }) => {
        $crate::labels! {
            $(#[$meta])*
            $vis enum $name { $($(#[$doc])* #[doc = ""] #[doc = $clause] $variant => $word,)+ }
        }

        impl $crate::label::RuleLabel for $name {
            fn clause(self) -> &'static str {
                match self { $(Self::$variant => $clause,)+ }
            }
        }
    };
}
