//! Draws from the seeded generator. Everything random in this example comes through here, so one seed is one bank.
//!
//! Nothing here can fail: a draw from an empty list gives the type's default.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// One of `items`, each as likely as the others.
pub fn pick<T: Copy + Default>(rng: &mut StdRng, items: &[T]) -> T {
    items.choose(rng).copied().unwrap_or_default()
}

/// True in `percent` of a hundred draws.
pub fn percent(rng: &mut StdRng, percent: f64) -> bool {
    rng.gen_bool((percent / 100.0).clamp(0.0, 1.0))
}

/// `count` decimal digits.
pub fn digits(rng: &mut StdRng, count: usize) -> String {
    (0..count).map(|_| char::from(rng.gen_range(b'0'..=b'9'))).collect()
}

/// `count` digits or capital letters, without those that are taken for one another.
pub fn alphanumerics(rng: &mut StdRng, count: usize) -> String {
    const LETTERS: &[u8] = b"0123456789ABCDEFGHJKLMNPQRSTUVWXYZ";
    (0..count).map(|_| char::from(pick(rng, LETTERS))).collect()
}

/// A version 4 UUID in its usual text form.
pub fn uuid(rng: &mut StdRng) -> String {
    let bits =
        (rng.r#gen::<u128>() & !(0xf000_u128 << 64) & !(0xc_u128 << 60)) | (0x4000_u128 << 64) | (0x8_u128 << 60);
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// An amount in cents between two limits; small ones are drawn more often, as on real statements.
pub fn cents(rng: &mut StdRng, low: i64, high: i64) -> i64 {
    let skewed = rng.r#gen::<f64>().powf(2.2);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "amounts are far below 2^52 cents"
    )]
    let drawn = low + ((high - low) as f64 * skewed) as i64;
    // Most prices end in a nine or a zero.
    if percent(rng, 45.0) { (drawn / 10 * 10 + pick(rng, &[9, 9, 0])).clamp(low, high) } else { drawn }
}

/// Cents as PostgreSQL reads a numeric.
pub fn decimal(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}
