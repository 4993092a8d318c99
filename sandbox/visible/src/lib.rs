//! Which characters of a foreign text a person sees as what they are. The others are escaped wherever
//! the text reaches one: a terminal obeys control characters (ECMA-48), bidirectional ones reorder what
//! stands around them (CVE-2021-42574), and invisible ones hide.

use std::fmt::Write;

use unicode_general_category::{GeneralCategory, get_general_category};

/// Whether it is shown, and has no power over what is shown beside it.
pub fn is_visible(character: char) -> bool {
    let acts = matches!(
        get_general_category(character),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    );
    !acts && !is_ignorable(character)
}

/// The text of a JSON document, of which what is not visible is escaped: JSON itself demands that of
/// the first 32 control characters only (RFC 8259, section 7). Says the same, as outside of strings
/// JSON has none of them.
pub fn visible_json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_visible(character) || character == '\n' {
            shown.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // A String takes everything.
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

/// Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt): what is not shown at all by a
/// program that does not know it.
fn is_ignorable(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_invisible_or_turns_the_text_is_not_visible() {
        let class = r"[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Cc}\p{Zl}\p{Zp}]";
        let parsed = regex_syntax::parse(class).unwrap();
        let regex_syntax::hir::HirKind::Class(regex_syntax::hir::Class::Unicode(class)) =
            parsed.kind()
        else {
            panic!("{parsed:?}");
        };
        let invisible: Vec<char> =
            class.iter().flat_map(|range| range.start()..=range.end()).collect();
        assert!(invisible.contains(&'\u{202e}') && invisible.contains(&'\u{e0041}'));
        for character in invisible {
            assert!(!is_visible(character), "{}", character.escape_unicode());
        }
        assert!("Grüße, 世界 🙂\u{301}".chars().all(is_visible));
    }

    #[test]
    fn json_stays_the_same_document() {
        let text = "\u{202e}\u{9b}\u{7f}\u{e0041}ä\n";
        let shown = visible_json(&serde_json::to_string(text).unwrap());
        assert_eq!(shown, "\"\\u202e\\u009b\\u007f\\udb40\\udc41ä\\n\"");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }
}
