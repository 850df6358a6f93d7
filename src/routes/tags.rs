//! Tags that a route gives to stored responses and that a write purges.
//!
//! Every response stored under a route has an implied tag of the route's name and its captures. A
//! write that purges the route computes the tag from the captures of its own path. Captures are in
//! normal form, and the implied tag ignores their letter case, since an origin may ignore it too: a
//! write then purges one resource too many, and never one too few.

use std::borrow::Cow;

use crate::limits::ROUTE_TAG_BYTES_MAX;

use crate::routes::pattern::CaptureName;

/// A tag with captures to fill in, such as `account:{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagTemplate {
    /// The template as it was written.
    pub text: Box<str>,
    /// Its parts.
    pub parts: Box<[TagPart]>,
}

/// A part of a tag template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagPart {
    /// Text.
    Text(Box<str>),
    /// The value of a capture.
    Capture(CaptureName),
}

/// An error in a tag template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagTemplateError {
    /// No text at all.
    #[error("is empty")]
    Empty,
    /// A template that is too long.
    #[error("is longer than {ROUTE_TAG_BYTES_MAX} bytes")]
    TooLong,
    /// A byte that no tag has.
    #[error("has {0:?}, which no tag has")]
    Letter(char),
    /// A brace without its partner.
    #[error("has a brace without its partner")]
    Brace,
}

impl TagTemplate {
    /// Reads a template.
    pub(super) fn parse(text: &str) -> Result<Self, TagTemplateError> {
        if text.is_empty() {
            return Err(TagTemplateError::Empty);
        }
        if text.len() > ROUTE_TAG_BYTES_MAX {
            return Err(TagTemplateError::TooLong);
        }
        // The fields of tags separate them by commas and spaces.
        if let Some(letter) = text.chars().find(|letter| !letter.is_ascii_graphic() || *letter == ',') {
            return Err(TagTemplateError::Letter(letter));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or(TagTemplateError::Brace)?;
            if before.contains('}') || name.contains('{') || name.is_empty() {
                return Err(TagTemplateError::Brace);
            }
            if !before.is_empty() {
                parts.push(TagPart::Text(before.into()));
            }
            parts.push(TagPart::Capture(name.into()));
            rest = behind;
        }
        if rest.contains('}') {
            return Err(TagTemplateError::Brace);
        }
        if !rest.is_empty() {
            parts.push(TagPart::Text(rest.into()));
        }
        Ok(Self { text: text.into(), parts: parts.into() })
    }

    /// Returns the names of the captures that the template needs.
    pub(super) fn captures(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            TagPart::Text(_) => None,
            TagPart::Capture(name) => Some(&**name),
        })
    }

    /// Returns the tag with these captures. None if a capture is missing.
    pub(super) fn fill<'a>(&self, capture: impl Fn(&str) -> Option<Cow<'a, str>>) -> Option<String> {
        let mut tag = String::with_capacity(self.text.len());
        for part in &self.parts {
            match part {
                TagPart::Text(text) => tag.push_str(text),
                TagPart::Capture(name) => tag.push_str(&capture(name)?),
            }
        }
        Some(tag)
    }
}

/// Returns the implied tag of a route: its name, and each of its captures by name.
///
/// A space separates the parts. No tag of an origin and no template has one, so neither can imitate
/// an implied tag.
pub(super) fn implied<'a, 'n>(
    route: &str,
    names: impl Iterator<Item = &'n str>,
    capture: impl Fn(&str) -> Option<Cow<'a, str>>,
) -> Option<String> {
    let mut tag = format!("route {route}");
    for name in names {
        let value = capture(name)?;
        tag.push(' ');
        tag.push_str(name);
        tag.push('=');
        tag.extend(value.chars().map(|letter| letter.to_ascii_lowercase()));
    }
    Some(tag)
}
