//! Rules in front of a model: `rules.tsv`, pattern → category, the first line that matches wins.
//!
//! ```text
//! pattern<TAB>category<TAB>match<TAB>when
//! GEHALT<TAB>income.salary<TAB>word<TAB>in
//! *<TAB>other
//! ```
//! `match` is `word` (the default: the pattern's normal form as whole words of the normal text, so that case, accents and
//! digits do not matter), `exact` (the whole normal text) or `contains` (byte for byte anywhere in the text as it is).
//! `when` is empty, `in` (amount > 0) or `out` (amount < 0). The pattern `*` in the last line is the answer when nothing
//! else has one: a folder of rules alone needs it.
//!
//! Invariants: one automaton pass over each text, whatever the number of rules (Aho and Corasick 1975); no allocation.

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, Anchored, Input, MatchKind, StartKind};
use bytestring::ByteString;

use super::normalize::{MAX_INPUT_BYTES, normalize};

/// Most rules in one file.
const MAX_RULES: usize = 100_000;

/// Most bytes of all patterns: the automaton takes tens of bytes for each.
const MAX_PATTERN_BYTES: usize = 4 << 20;

/// Up to so many bytes of patterns the automaton is a table of all transitions: the fastest, and then at most some 10 MB.
const MAX_TABLE_BYTES: usize = 64 << 10;

/// The rules of a model folder.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    /// Categories, distinct.
    categories: Vec<ByteString>,
    /// Over normal texts, fields padded by spaces; its pattern numbers index `normal_rules`.
    normal: Option<AhoCorasick>,
    normal_rules: Vec<u32>,
    /// Over texts as they are.
    raw: Option<AhoCorasick>,
    raw_rules: Vec<u32>,
    default: Option<u16>,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    /// As the file has it, for explanations.
    pattern: ByteString,
    category: u16,
    when: When,
    exact: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    Always,
    In,
    Out,
}

impl When {
    fn holds(self, amount: Option<f64>) -> bool {
        match self {
            When::Always => true,
            When::In => amount.is_some_and(|a| a > 0.0),
            When::Out => amount.is_some_and(|a| a < 0.0),
        }
    }
}

impl Rules {
    /// Reads the file's text; errors name the line.
    pub fn parse(text: &str) -> Result<Rules, String> {
        let mut lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty() && !l.starts_with('#'));
        let header: Vec<&str> = lines.next().map(|(_, l)| l.split('\t').collect()).unwrap_or_default();
        if header.get(..2) != Some(&["pattern", "category"])
            || !header.iter().skip(2).all(|c| matches!(*c, "match" | "when"))
        {
            return Err("line 1: expected the columns pattern, category and, if wanted, match and when".to_string());
        }
        let mut building = Building::default();
        for (number, line) in lines {
            building.line(&header, line).map_err(|e| format!("line {}: {e}", number + 1))?;
        }
        building.finish()
    }

    /// The category of a row, and whether a rule or only the default gave it.
    pub fn find<'t>(
        &self,
        normal_text: &[u8],
        texts: impl IntoIterator<Item = &'t str>,
        amount: Option<f64>,
    ) -> Option<(&ByteString, bool)> {
        let rule = self.first(normal_text, texts, amount);
        let category = rule.map(|r| (r.category, true)).or(self.default.map(|c| (c, false)));
        category.and_then(|(c, by_rule)| Some((self.categories.get(usize::from(c))?, by_rule)))
    }

    /// The pattern of the rule that decides on a row.
    pub fn pattern<'t>(
        &self,
        normal_text: &[u8],
        texts: impl IntoIterator<Item = &'t str>,
        amount: Option<f64>,
    ) -> Option<&ByteString> {
        self.first(normal_text, texts, amount).map(|rule| &rule.pattern)
    }

    /// The first rule that matches.
    fn first<'t>(
        &self,
        normal_text: &[u8],
        texts: impl IntoIterator<Item = &'t str>,
        amount: Option<f64>,
    ) -> Option<&Rule> {
        let mut first = u32::MAX;
        if let Some(automaton) = &self.normal {
            self.in_normal(automaton, normal_text, amount, &mut first);
        }
        if let Some(automaton) = &self.raw {
            for text in texts {
                let text = truncate(text);
                for found in automaton.find_overlapping_iter(text) {
                    self.consider(&self.raw_rules, found.pattern().as_usize(), amount, &mut first);
                }
            }
        }
        self.rules.get(first as usize)
    }

    /// Word and exact rules: a match counts where words begin and end.
    fn in_normal(&self, automaton: &AhoCorasick, text: &[u8], amount: Option<f64>, first: &mut u32) {
        let edge = |at: Option<&u8>| at.is_none_or(|b| matches!(b, b' ' | b'\n'));
        let field_edge = |at: Option<&u8>| at.is_none_or(|b| *b == b'\n');
        let input = Input::new(text).anchored(Anchored::No);
        for found in automaton.find_overlapping_iter(input) {
            let before = found.start().checked_sub(1).and_then(|i| text.get(i));
            let after = text.get(found.end());
            let pattern = found.pattern().as_usize();
            let exact = self.rule_of(&self.normal_rules, pattern).is_some_and(|r| r.exact);
            let fits = if exact { field_edge(before) && field_edge(after) } else { edge(before) && edge(after) };
            if fits {
                self.consider(&self.normal_rules, pattern, amount, first);
            }
        }
    }

    fn rule_of(&self, numbers: &[u32], pattern: usize) -> Option<&Rule> {
        numbers.get(pattern).and_then(|n| self.rules.get(*n as usize))
    }

    fn consider(&self, numbers: &[u32], pattern: usize, amount: Option<f64>, first: &mut u32) {
        if let Some(number) = numbers.get(pattern).filter(|n| **n < *first)
            && self.rules.get(*number as usize).is_some_and(|r| r.when.holds(amount))
        {
            *first = *number;
        }
    }

    /// Whether any rule looks at normal texts; `contains` takes texts as they are.
    pub fn reads_normal_text(&self) -> bool {
        self.normal.is_some()
    }

    /// Distinct categories that rules give.
    pub fn categories(&self) -> &[ByteString] {
        &self.categories
    }

    /// Whether every row gets an answer.
    pub fn has_default(&self) -> bool {
        self.default.is_some()
    }

    /// Number of rules, the default not counted.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// As much of a text as the normalizer would look at.
fn truncate(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_INPUT_BYTES)).unwrap_or(text)
}

#[derive(Default)]
struct Building {
    rules: Vec<Rule>,
    categories: Vec<ByteString>,
    normal: Vec<Vec<u8>>,
    normal_rules: Vec<u32>,
    raw: Vec<Vec<u8>>,
    raw_rules: Vec<u32>,
    default: Option<u16>,
}

impl Building {
    fn line(&mut self, header: &[&str], line: &str) -> Result<(), String> {
        let cells: Vec<&str> = line.split('\t').collect();
        if cells.len() > header.len() {
            return Err(format!("{} cells, but the header has {}", cells.len(), header.len()));
        }
        let cell =
            |name: &str| header.iter().position(|c| *c == name).and_then(|i| cells.get(i)).map_or("", |c| c.trim());
        // Spaces around a pattern may be meant, so it is not trimmed.
        let pattern = cells.first().copied().unwrap_or_default();
        let category = cell("category");
        if pattern.is_empty() || category.is_empty() {
            return Err("pattern and category must not be empty".to_string());
        }
        if self.default.is_some() {
            return Err("nothing may follow the default `*`".to_string());
        }
        let category = self.category(category)?;
        if pattern == "*" {
            self.default = Some(category);
            return Ok(());
        }
        let when = match cell("when") {
            "" => When::Always,
            "in" => When::In,
            "out" => When::Out,
            _ => return Err("`when` must be empty, in or out".to_string()),
        };
        self.pattern(pattern, cell("match"), category, when)
    }

    fn pattern(&mut self, pattern: &str, how: &str, category: u16, when: When) -> Result<(), String> {
        let number = self.rules.len() as u32;
        if self.rules.len() >= MAX_RULES {
            return Err(format!("more than {MAX_RULES} rules"));
        }
        if pattern.len() > MAX_INPUT_BYTES {
            return Err(format!(
                "a pattern of {} bytes matches nothing: texts count up to {MAX_INPUT_BYTES}",
                pattern.len()
            ));
        }
        match how {
            "contains" => {
                self.raw.push(pattern.as_bytes().to_vec());
                self.raw_rules.push(number);
            }
            "" | "word" | "exact" => {
                let mut normal = Vec::new();
                if !normalize(pattern, &mut normal) {
                    return Err("nothing is left of the pattern after normalization; use match `contains`".to_string());
                }
                self.normal.push(normal);
                self.normal_rules.push(number);
            }
            _ => return Err("`match` must be word, exact or contains".to_string()),
        }
        self.rules.push(Rule { pattern: pattern.into(), category, when, exact: how == "exact" });
        Ok(())
    }

    fn category(&mut self, name: &str) -> Result<u16, String> {
        let place = self.categories.iter().position(|c| c == name).unwrap_or_else(|| {
            self.categories.push(name.into());
            self.categories.len() - 1
        });
        u16::try_from(place).map_err(|_| "too many categories".to_string())
    }

    fn finish(self) -> Result<Rules, String> {
        let normal = automaton(&self.normal)?;
        let raw = automaton(&self.raw)?;
        Ok(Rules {
            rules: self.rules,
            categories: self.categories,
            normal,
            normal_rules: self.normal_rules,
            raw,
            raw_rules: self.raw_rules,
            default: self.default,
        })
    }
}

fn automaton(patterns: &[Vec<u8>]) -> Result<Option<AhoCorasick>, String> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut builder = AhoCorasickBuilder::new();
    let bytes: usize = patterns.iter().map(Vec::len).sum();
    if bytes > MAX_PATTERN_BYTES {
        return Err(format!("the patterns have {bytes} bytes together, at most {MAX_PATTERN_BYTES} are taken"));
    }
    builder.match_kind(MatchKind::Standard).start_kind(StartKind::Unanchored);
    let kind = if bytes <= MAX_TABLE_BYTES { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
    builder.kind(Some(kind));
    builder.build(patterns).map(Some).map_err(|e| format!("the patterns cannot be compiled: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::features::Scratch;

    const RULES: &str = "pattern\tcategory\tmatch\twhen\n\
        DB Vertrieb\ttransport\n\
        # comments and empty lines are skipped\n\n\
        Aral\tfuel\tword\n\
        miete\tincome.rent\tword\tin\n\
        Miete\thousing.rent\tword\tout\n\
        E.ON\tutilities\tcontains\n\
        OTTO\tshop\texact\n\
        Café\tfood\n\
        *\tother\n";

    fn find(rules: &Rules, texts: &[&str], amount: Option<f64>) -> Option<(String, bool)> {
        let mut scratch = Scratch::default();
        scratch.set_texts(texts.iter().copied());
        rules.find(scratch.normal_text(), texts.iter().copied(), amount).map(|(c, by)| (c.to_string(), by))
    }

    #[test]
    fn first_line_wins_and_words_are_whole() {
        let rules = Rules::parse(RULES).unwrap();
        let rule = |text: &str, amount| find(&rules, &[text], amount).unwrap().0;
        assert_eq!(rule("db  vertrieb GmbH 123", None), "transport");
        assert_eq!(rule("ARAL STATION 77", None), "fuel");
        assert_eq!(rule("CARALINE", None), "other");
        assert_eq!(rule("Miete Mai", Some(-900.0)), "housing.rent");
        assert_eq!(rule("MIETE", Some(900.0)), "income.rent");
        assert_eq!(rule("MIETE", None), "other");
        assert_eq!(rule("an E.ON Energie", None), "utilities");
        assert_eq!(rule("e.on", None), "other");
        assert_eq!(rule("Otto", None), "shop");
        assert_eq!(rule("Otto Normal", None), "other");
        assert_eq!(rule("CAFE\u{301} SOLO", None), "food");
        assert_eq!(rule("AFAEL E.ON ARAL", None), "fuel");
        assert_eq!(find(&rules, &["x", "Aral"], None), Some(("fuel".into(), true)));
        assert_eq!(find(&rules, &["DB", "Vertrieb"], None), Some(("other".into(), false)));
        assert_eq!(find(&rules, &[], None), Some(("other".into(), false)));
    }

    #[test]
    fn broken_files_are_refused_with_their_line() {
        let error = |text: &str| Rules::parse(text).unwrap_err();
        assert!(error("").starts_with("line 1: expected the columns"));
        assert!(error("a\tb\n").starts_with("line 1: expected the columns"));
        assert!(error("pattern\tcategory\nA\n").starts_with("line 2: pattern and category"));
        assert!(error("pattern\tcategory\nA\tb\tc\n").starts_with("line 2: 3 cells"));
        assert!(error("pattern\tcategory\n*\tb\nA\tb\n").starts_with("line 3: nothing may follow"));
        assert!(error("pattern\tcategory\tmatch\nA\tb\tregex\n").starts_with("line 2: `match`"));
        assert!(error("pattern\tcategory\twhen\nA\tb\tnow\n").starts_with("line 2: `when`"));
        assert!(error("pattern\tcategory\n---\tb\n").starts_with("line 2: nothing is left"));
        let long = "A".repeat(MAX_INPUT_BYTES + 1);
        assert!(error(&format!("pattern\tcategory\n{long}\tb\n")).starts_with("line 2: a pattern of 2049 bytes"));
    }

    #[test]
    fn many_long_patterns_are_bounded_in_memory_and_match_the_same() {
        let file = |rules: usize| {
            let rule = |i: usize| format!("{i:06}{}\tlong\tcontains\n", "x".repeat(2_000));
            "pattern\tcategory\tmatch\n".to_string() + &(0..rules).map(rule).collect::<String>() + "ARAL\tfuel\t\n"
        };
        // Too many for the table of all transitions.
        let rules = Rules::parse(&file(40)).unwrap();
        let text = format!("000039{}", "x".repeat(2_000));
        assert_eq!(find(&rules, &[&text], None), Some(("long".into(), true)));
        assert_eq!(find(&rules, &[&text[1..], "Aral 7"], None), Some(("fuel".into(), true)));
        let refused = Rules::parse(&file(2_100)).unwrap_err();
        assert!(refused.starts_with("the patterns have 4212600 bytes together"), "{refused}");
    }

    #[test]
    fn without_a_default_there_may_be_no_answer() {
        let rules = Rules::parse("pattern\tcategory\nA\tb\n").unwrap();
        assert_eq!(find(&rules, &["x"], None), None);
        assert_eq!((rules.len(), rules.has_default()), (1, false));
    }
}
