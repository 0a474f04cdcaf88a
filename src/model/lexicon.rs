//! `words.tsv`: words that say what a category is, such as `PIZZERIA` for restaurants. They are learned like rows of data,
//! so that a merchant never seen is known by what its name says.
//!
//! Two columns, `category` and `words`; words and word groups are separated by `|`. Lines that start with `#` are comments.

/// Words by category.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lexicon(Vec<(String, Vec<String>)>);

impl Lexicon {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Lexicon, String> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        if lines.next().is_none_or(|(_, header)| header != "category\twords") {
            return Err("expected the header `category<TAB>words`".to_string());
        }
        let mut entries = Vec::new();
        for (i, line) in lines {
            let wrong = || format!("line {}: expected `category<TAB>word|word|…`", i + 1);
            let (category, words) = line.split_once('\t').ok_or_else(wrong)?;
            let words: Vec<String> = words.split('|').map(|word| word.trim().to_string()).collect();
            if category.is_empty() || words.iter().any(String::is_empty) {
                return Err(wrong());
            }
            entries.push((category.to_string(), words));
        }
        Ok(Lexicon(entries))
    }

    /// Pairs of category and word.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(category, words)| words.iter().map(|word| (category.as_str(), word.as_str())))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many words.
    pub fn len(&self) -> usize {
        self.0.iter().map(|(_, words)| words.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_broken_lines_named() {
        let lexicon =
            Lexicon::parse("# what shops say\ncategory\twords\nfood\tPIZZERIA|FISH & CHIPS\nfuel\tPETROL\n").unwrap();
        let pairs: Vec<_> = lexicon.pairs().collect();
        assert_eq!(pairs, [("food", "PIZZERIA"), ("food", "FISH & CHIPS"), ("fuel", "PETROL")]);
        assert!(Lexicon::parse("food\tA\n").unwrap_err().contains("header"));
        assert!(Lexicon::parse("category\twords\nfood\tA||B\n").unwrap_err().contains("line 2"));
        assert!(Lexicon::parse("category\twords\nfood\n").unwrap_err().contains("line 2"));
    }
}
