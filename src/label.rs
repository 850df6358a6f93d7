//! Closed sets of names.
//!
//! A decision is a variant, and its one word is at once the log field, the metric label and the `Cache-Status`
//! detail. [`Label`] is what all of these ask of it; [`labels!`](crate::labels) writes such an enum.

/// An enum of which every variant has one word, and a place in a table of counters.
pub trait Label: Copy + 'static {
    /// Every variant, in the order of [`Label::index`].
    const ALL: &'static [Self];

    /// The word: lower case, digits and `-`; never changes once published.
    fn word(self) -> &'static str;

    /// The place of this variant in [`Label::ALL`].
    fn index(self) -> usize;
}

/// A label of a decision: each variant is a rule, and the rule stands somewhere.
pub trait Rule: Label {
    /// Where: a section of an RFC, the name of one of our settings, or both with a comma between; never empty.
    fn clause(self) -> &'static str;
}

/// Declares an enum with a word for each variant:
///
/// ```
/// cachewarp::labels! {
///     /// Which tier an entry came from.
///     pub enum Tier {
///         /// This process.
///         Memory => "memory",
///         /// The fleet's.
///         Redis => "redis",
///     }
/// }
/// # use cachewarp::label::Label;
/// assert_eq!(Tier::Redis.word(), "redis");
/// assert_eq!(Tier::ALL.len(), 2);
/// ```
///
/// and, if each variant is a rule, with the clause that it stands in, which is shown behind its documentation:
///
/// ```
/// cachewarp::labels! {
///     /// Why not.
///     pub enum Refusal {
///         /// The origin forbids it.
///         NoStore => "no-store" in "RFC 9111 §5.2.2.5",
///     }
/// }
/// # use cachewarp::label::Rule;
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

        impl $crate::label::Rule for $name {
            fn clause(self) -> &'static str {
                match self { $(Self::$variant => $clause,)+ }
            }
        }
    };
}
