//! Names of devices against what the configuration asks for.

/// How well a device answers to what was asked; lower is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Match {
    /// Its identifier, to the letter.
    Id,
    /// Its name, to the letter.
    Name,
    /// A pattern with `*`.
    Pattern,
}

/// Whether a device with these identifiers and this name is meant by `asked`.
pub(super) fn matches(asked: &str, ids: &[&str], name: &str) -> Option<Match> {
    if ids.contains(&asked) {
        Some(Match::Id)
    } else if name == asked {
        Some(Match::Name)
    } else if asked.contains('*') && (ids.iter().any(|id| glob(asked, id)) || glob(asked, name)) {
        Some(Match::Pattern)
    } else {
        None
    }
}

/// `*` stands for any run of characters, also none; case does not count, since people retype names.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_before_names_and_names_before_patterns() {
        let ids = ["alsa:hw:CARD=Mic,DEV=0", "hw:CARD=Mic,DEV=0"];
        assert_eq!(
            matches("hw:CARD=Mic,DEV=0", &ids, "USB Mic"),
            Some(Match::Id)
        );
        assert_eq!(matches("USB Mic", &ids, "USB Mic"), Some(Match::Name));
        assert_eq!(matches("usb*", &ids, "USB Mic"), Some(Match::Pattern));
        assert_eq!(matches("*card=mic*", &ids, "?"), Some(Match::Pattern));
        assert_eq!(matches("USB", &ids, "USB Mic"), None);
        assert!(Match::Id < Match::Name && Match::Name < Match::Pattern);
    }

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*b*c", "aXbXbYc", true),
            ("a*b", "ab", true),
            ("ab*b", "ab", false),
            ("*a*", "bab", true),
            ("a*", "ba", false),
            ("*ä*", "Küche Ä", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
