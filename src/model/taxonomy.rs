//! `taxonomy.tsv` and `mcc.tsv`: what the categories are, and which merchant category codes (ISO 18245) belong to them.

use std::collections::BTreeMap;

/// The categories of a model folder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Taxonomy {
    /// Columns by category.
    pub categories: BTreeMap<String, Category>,
}

/// One category.
#[derive(Debug, Clone, PartialEq)]
pub struct Category {
    /// The group that it belongs to.
    pub group: String,
    /// Its name for people.
    pub name: String,
    /// Whether trained models give it; others come from rules alone.
    pub learned: bool,
}

impl Taxonomy {
    /// Reads the file's text; errors name the line. Further columns are mappings for readers of the file.
    pub fn parse(text: &str) -> Result<Taxonomy, String> {
        let mut lines = text.lines().enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#'));
        if !lines.next().is_some_and(|(_, l)| l.starts_with("category\tgroup\tname\tlearned")) {
            return Err("line 1: expected the columns category, group, name and learned".to_string());
        }
        let mut categories = BTreeMap::new();
        for (number, line) in lines {
            let wrong = |text: &str| format!("line {}: {text}", number + 1);
            let mut cells = line.split('\t');
            let mut cell = || cells.next().unwrap_or_default().to_string();
            let (category, group, name, learned) = (cell(), cell(), cell(), cell());
            if category.is_empty() || group.is_empty() || !matches!(learned.as_str(), "yes" | "no") {
                return Err(wrong("expected category, group, name and yes or no"));
            }
            let entry = Category { group, name, learned: learned == "yes" };
            if categories.insert(category, entry).is_some() {
                return Err(wrong("the category is there already"));
            }
        }
        Ok(Taxonomy { categories })
    }

    /// Names among `used` that the taxonomy does not have.
    pub fn missing<'n>(&self, used: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
        used.into_iter().filter(|name| !self.categories.contains_key(*name)).collect()
    }
}

/// Categories by merchant category code.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MccTable {
    /// First and last code of a range, category; ascending, without overlaps.
    ranges: Vec<(u16, u16, String)>,
}

impl MccTable {
    /// Reads the file's text: a category and its codes or ranges of codes, separated by spaces, in each line.
    pub fn parse(text: &str) -> Result<MccTable, String> {
        let mut lines = text.lines().enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#'));
        if lines.next().is_none_or(|(_, l)| l != "category\tcodes") {
            return Err("line 1: expected the columns category and codes".to_string());
        }
        let mut ranges = Vec::new();
        for (number, line) in lines {
            let wrong =
                || format!("line {}: expected a category, a tab and codes such as 5411 or 3000-3299", number + 1);
            let (category, codes) = line.split_once('\t').ok_or_else(wrong)?;
            for range in codes.split(' ') {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let code = |text: &str| text.parse::<u16>().ok().filter(|n| text.len() == 4 && *n <= 9_999);
                let (first, last) = code(first).zip(code(last)).filter(|(a, b)| a <= b).ok_or_else(wrong)?;
                ranges.push((first, last, category.to_string()));
            }
        }
        ranges.sort();
        let overlap = ranges.array_windows().find(|[a, b]| a.1 >= b.0);
        match overlap {
            Some([_, (code, _, _)]) => Err(format!("code {code:04} belongs to two categories")),
            None => Ok(MccTable { ranges }),
        }
    }

    /// The category of a code.
    pub fn category(&self, code: u16) -> Option<&str> {
        let after = self.ranges.partition_point(|(first, _, _)| *first <= code);
        let (_, last, category) = self.ranges.get(after.checked_sub(1)?)?;
        (code <= *last).then_some(category)
    }

    /// The categories that occur.
    pub fn categories(&self) -> impl Iterator<Item = &str> {
        self.ranges.iter().map(|(_, _, category)| category.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_find_their_category() {
        let table = MccTable::parse("category\tcodes\nair\t3000-3299 4511\nfuel\t5541-5542\n").unwrap();
        for (code, category) in [
            (3000, Some("air")),
            (3299, Some("air")),
            (3300, None),
            (4511, Some("air")),
            (5542, Some("fuel")),
            (0, None),
        ] {
            assert_eq!(table.category(code), category, "{code}");
        }
    }

    #[test]
    fn broken_tables_are_refused() {
        assert!(MccTable::parse("category\tcodes\nair\t300-299\n").unwrap_err().starts_with("line 2"));
        assert!(
            MccTable::parse("category\tcodes\na\t3000-3299\nb\t3100\n").unwrap_err().contains("3100 belongs to two")
        );
        assert!(
            Taxonomy::parse("category\tgroup\tname\tlearned\na\tb\tc\tperhaps\n").unwrap_err().starts_with("line 2")
        );
        assert!(Taxonomy::parse("category\tgroup\tname\tlearned\na\tb\tc\tyes\na\tb\tc\tno\n").is_err());
    }
}
