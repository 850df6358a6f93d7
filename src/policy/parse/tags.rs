//! Cache tags: names for purging responses that belong together, in fields without a standard.
//!
//! `Cache-Tag` separates tags by commas, `Surrogate-Key` by spaces. The parser accepts both
//! separators in every field that the operator lists. A response with an invalid tag is not stored,
//! since a purge of that tag would miss it.

use http::HeaderMap;

use crate::limits::{GROUPS_MAX, TAG_BYTES_MAX, TAGS_MAX};

use crate::policy::store::not_storable::NotStorable;
use crate::policy::store::rules::{CacheRules, TagVisibility};

/// Returns the tags of a response, each once.
pub fn tags<'a>(response: &'a HeaderMap, rules: &CacheRules) -> Result<Vec<&'a str>, NotStorable> {
    let mut found = Vec::new();
    let lines = rules.tag_headers.iter().flat_map(|name| response.get_all(name));
    for line in lines {
        let line = line.to_str().map_err(|_| NotStorable::Tags)?;
        for tag in line.split([',', ' ', '\t']).filter(|tag| !tag.is_empty()) {
            if tag.len() > TAG_BYTES_MAX || found.len() >= TAGS_MAX - GROUPS_MAX {
                return Err(NotStorable::Tags);
            }
            if !found.contains(&tag) {
                found.push(tag);
            }
        }
    }
    Ok(found)
}

/// Removes the tag fields from a response, unless the operator shows them to clients.
pub fn strip_tags(head: &mut HeaderMap, rules: &CacheRules) {
    if rules.tag_headers_visible == TagVisibility::Yes {
        return;
    }
    // Most heads have none of these fields, and a pass over the names costs less than a lookup of
    // each field.
    while let Some(name) = head.keys().find(|name| rules.tag_headers.contains(name)).cloned() {
        head.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{head, rules};

    #[test]
    fn tags_are_separated_by_commas_and_spaces() {
        let rules = rules();
        let response = head(&[
            ("cache-tag", "a,b , a"),
            ("surrogate-key", "c  b\td"),
            ("x-tags", "no"),
            ("cache-tag", ",, A"),
        ]);
        assert_eq!(tags(&response, &rules).unwrap(), ["a", "b", "A", "c", "d"]);
        assert!(tags(&head(&[]), &rules).unwrap().is_empty());
    }

    #[test]
    fn too_many_or_invalid_tags_are_refused() {
        let rules = rules();
        let most = TAGS_MAX - GROUPS_MAX;
        let many = |count| (0..count).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        let of = |value: &str| tags(&head(&[("surrogate-key", value)]), &rules).map(|tags| tags.len());
        assert_eq!(of(&many(most)), Ok(most));
        assert_eq!(of(&many(10_000)), Err(NotStorable::Tags));
        assert_eq!(of(&"x".repeat(TAG_BYTES_MAX)), Ok(1));
        assert_eq!(of(&"x".repeat(TAG_BYTES_MAX + 1)), Err(NotStorable::Tags));
        assert_eq!(of("caf\u{e9}"), Err(NotStorable::Tags));
    }

    #[test]
    fn tag_fields_are_removed_unless_they_are_visible() {
        let mut response = head(&[("cache-tag", "a"), ("etag", "\"1\"")]);
        strip_tags(&mut response, &CacheRules { tag_headers_visible: TagVisibility::Yes, ..rules() });
        assert_eq!(response.len(), 2);
        strip_tags(&mut response, &rules());
        assert_eq!(response.len(), 1);
    }
}
