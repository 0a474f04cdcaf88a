//! Text as people and terminals write it → text as models see it. Version 2.
//!
//! Upper case; Latin letters without their accents (`É` and `E` + combining acute are both `E`, `ß` is `SS`); a run of
//! digits is one `0`, so that store numbers, dates and amounts do not split a merchant in thousands, and all that is left
//! of an IBAN is its country and the letters of its bank; `& ' . * #` stay; full-width forms count as the ASCII that they
//! widen; letters of other scripts stay; everything else is a space; spaces do not repeat and do not stand at the ends.
//!
//! Invariants: the same text gives the same bytes on every platform and in every release: a change of any rule is a new
//! [`NORMALIZER_VERSION`], and a model that was trained with another version is refused. Output is bounded by
//! [`MAX_NORMALIZED_BYTES`] and the work by [`MAX_INPUT_BYTES`], whatever is thrown at it.
//! Deliberately absent: Unicode tables of the standard library, which change with the compiler (the one exception are
//! the old and stable case pairs of Greek, Cyrillic and Armenian); lists of cities, which would be of one country: what many
//! merchants' texts have in common weighs little (`vocabulary`) and is no part of a merchant's key (`memory`).

/// Version of the rules in this file; stored in every model.
pub const NORMALIZER_VERSION: u16 = 2;

/// How much of one text is looked at. Remittance texts are at most a few hundred bytes.
pub const MAX_INPUT_BYTES: usize = 2_048;

/// How much of one text is kept.
pub const MAX_NORMALIZED_BYTES: usize = 512;

const SPACE: u8 = b' ';

/// What each ASCII byte becomes.
const ASCII: [u8; 128] = ascii_table();

/// Base letters of U+00C0 to U+017F, in order. `.` stands for “not a letter”; the letters that become two are in
/// [`two_letters`].
const LATIN: &[u8; 192] = b"AAAAAAACEEEEIIIIDNOOOOO.OUUUUYTSAAAAAAACEEEEIIIIDNOOOOO.OUUUUYTYAAAAAACCCCCCCCDDDDEEEEEEEEEEGGGGGGGGHHHHIIIIIIIIIIIIJJKKKLLLLLLLLLLNNNNNNNNNOOOOOOOORRRRRRSSSSSSSSTTTTTTUUUUUUUUUUUUWWYYYZZZZZZS";

const fn ascii_table() -> [u8; 128] {
    let mut table = [SPACE; 128];
    let mut byte = 0u8;
    while byte < 128 {
        let kept = byte.is_ascii_uppercase() || matches!(byte, b'&' | b'\'' | b'.' | b'*' | b'#');
        let becomes = if byte.is_ascii_digit() {
            b'0'
        } else if byte.is_ascii_lowercase() {
            byte.to_ascii_uppercase()
        } else if kept {
            byte
        } else {
            SPACE
        };
        #[allow(clippy::indexing_slicing)] // const evaluation: out of bounds would not compile
        {
            table[byte as usize] = becomes;
        }
        byte += 1;
    }
    table
}

/// Appends the normal form of `text` to `out`. Returns whether anything was appended.
pub fn normalize(text: &str, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let limit = start + MAX_NORMALIZED_BYTES;
    let mut pending_space = false;
    for (at, c) in text.char_indices() {
        if at >= MAX_INPUT_BYTES || out.len() >= limit {
            break;
        }
        let c = if c.is_ascii() { c } else { narrow(c) };
        if let Some(&byte) = ASCII.get(c as usize) {
            if byte == SPACE {
                pending_space = true;
            } else if byte != b'0' || pending_space || out.len() == start || out.last() != Some(&b'0') {
                open_word(out, start, &mut pending_space);
                out.push(byte);
            }
        } else if !is_mark(c) {
            if is_separator(c) {
                pending_space = true;
            } else {
                open_word(out, start, &mut pending_space);
                push_letter(c, out);
            }
        }
    }
    out.len() > start
}

/// Full-width forms stand 0xfee0 above the ASCII that they widen.
fn narrow(c: char) -> char {
    let plain = matches!(c, '\u{ff01}'..='\u{ff5e}').then(|| char::from_u32(c as u32 - 0xfee0)).flatten();
    plain.unwrap_or(c)
}

fn open_word(out: &mut Vec<u8>, start: usize, pending_space: &mut bool) {
    if *pending_space && out.len() > start {
        out.push(SPACE);
    }
    *pending_space = false;
}

/// Combining diacritical marks, joiners and variation selectors: a letter with them is the letter.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ad}')
}

/// Spaces, controls and punctuation above ASCII.
fn is_separator(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{bf}' | '\u{d7}' | '\u{f7}' | '\u{1680}' | '\u{2000}'..='\u{206f}' | '\u{20a0}'..='\u{20cf}'
        | '\u{2190}'..='\u{2bff}' | '\u{3000}'..='\u{3003}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}')
}

fn two_letters(c: char) -> Option<&'static [u8]> {
    Some(match c {
        'ß' | 'ẞ' => b"SS",
        'Æ' | 'æ' => b"AE",
        'Œ' | 'œ' => b"OE",
        'Þ' | 'þ' => b"TH",
        'Ĳ' | 'ĳ' => b"IJ",
        _ => return None,
    })
}

fn push_letter(c: char, out: &mut Vec<u8>) {
    if let Some(two) = two_letters(c) {
        out.extend_from_slice(two);
    } else if let Some(&base) = (c as usize).checked_sub(0xc0).and_then(|i| LATIN.get(i)) {
        out.push(base);
    } else {
        let mut utf8 = [0u8; 4];
        let mut push = |c: char| out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
        if matches!(c, '\u{370}'..='\u{58f}') { c.to_uppercase().for_each(push) } else { push(c) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn norm(text: &str) -> String {
        let mut out = b"before".to_vec();
        normalize(text, &mut out);
        String::from_utf8(out[6..].to_vec()).unwrap()
    }

    #[test]
    fn terminal_text_loses_case_digits_and_noise() {
        assert_eq!(norm("LCBO/RAO #0217"), "LCBO RAO #0");
        assert_eq!(norm("  tim hortons   4711-22 "), "TIM HORTONS 0 0");
        assert_eq!(norm("7-ELEVEN 12.50"), "0 ELEVEN 0.0");
        assert_eq!(norm("SQ *JOE'S A&W"), "SQ *JOE'S A&W");
        assert_eq!(norm("100"), "0");
        assert_eq!(norm("A1B22C"), "A0B0C");
    }

    #[test]
    fn accents_fold_however_they_are_written() {
        assert_eq!(norm("Café Müller Straße"), "CAFE MULLER STRASSE");
        assert_eq!(norm("Cafe\u{301} Mu\u{308}ller"), "CAFE MULLER");
        assert_eq!(norm("Łódź Ærø œuvre Þór"), "LODZ AERO OEUVRE THOR");
        assert_eq!(norm("Ěščřžýáíéůúťďň"), "ESCRZYAIEUUTDN");
    }

    #[test]
    fn full_width_forms_are_the_ascii_that_they_widen() {
        assert_eq!(norm("ＡＢＣ１"), "ABC0");
        assert_eq!(norm("ｓｈｏｐ　１２３４5６／７ ＃８"), "SHOP 0 0 #0");
        assert_eq!(norm("（ＡＴＭ）　／"), "ATM");
        for plain in '!'..='~' {
            let wide = char::from_u32(plain as u32 + 0xfee0).unwrap();
            assert_eq!(norm(&format!("a{wide}{wide}b")), norm(&format!("a{plain}{plain}b")), "{plain}");
        }
    }

    /// Of an account's number nothing is left that would make each of its payments a text of its own.
    #[test]
    fn ibans_lose_the_account() {
        assert_eq!(norm("SEPA DE89370400440532013000 MUSTER"), norm("SEPA DE02120300000000202051 MUSTER"));
        assert_eq!(norm("SEPA DE89370400440532013000 MUSTER"), "SEPA DE0 MUSTER");
        assert_eq!(norm("GB29 NWBK 6016 1331 9268 19"), "GB0 NWBK 0 0 0 0");
        assert_eq!(norm("NL91ABNA0417164300"), norm("nl39abna0300065264"));
    }

    #[test]
    fn the_latin_table_is_aligned() {
        for (c, base) in [
            ('À', 'A'),
            ('ÿ', 'Y'),
            ('Ā', 'A'),
            ('ę', 'E'),
            ('ğ', 'G'),
            ('İ', 'I'),
            ('ł', 'L'),
            ('ň', 'N'),
            ('ő', 'O'),
            ('ř', 'R'),
            ('ş', 'S'),
            ('ţ', 'T'),
            ('ű', 'U'),
            ('ŵ', 'W'),
            ('ŷ', 'Y'),
            ('ž', 'Z'),
        ] {
            assert_eq!(norm(&c.to_string()), base.to_string(), "{c}");
        }
    }

    #[test]
    fn other_scripts_stay() {
        assert_eq!(norm("магазин продукты 24"), "МАГАЗИН ПРОДУКТЫ 0");
        assert_eq!(norm("東京ストア"), "東京ストア");
    }

    #[test]
    fn hostile_texts_are_bounded() {
        assert_eq!(norm(""), "");
        assert_eq!(norm(" \u{0} \u{2028}\u{feff}"), "");
        assert_eq!(norm(&" ".repeat(10 << 20)), "");
        assert!(norm(&"ABC ".repeat(1 << 20)).len() <= MAX_NORMALIZED_BYTES + 8);
        assert!(norm(&"東".repeat(1 << 20)).len() <= MAX_NORMALIZED_BYTES + 8);
    }
}
