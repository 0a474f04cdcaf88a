//! The functions that expressions may call: VRL's standard library without what is not pure.

use std::sync::LazyLock;

use vrl::compiler::Function;

/// Functions that ask the clock, the environment, the network, files or a random generator, or that write into logs.
/// A document must come out the same whenever and wherever it is computed, and no value may leak.
const IMPURE: &[&str] = &[
    "dns_lookup",
    "encode_proto",
    "get_env_var",
    "get_hostname",
    "get_timezone_name",
    "http_request",
    "log",
    "now",
    "parse_etld",
    "parse_groks",
    "parse_proto",
    "random_bool",
    "random_bytes",
    "random_float",
    "random_int",
    "reverse_dns",
    "uuid_v4",
    "uuid_v7",
    "validate_json_schema",
];

/// Every function that may be called.
pub fn available() -> &'static [Box<dyn Function>] {
    static ALL: LazyLock<Vec<Box<dyn Function>>> =
        LazyLock::new(|| vrl::stdlib::all().into_iter().filter(|f| !is_impure(f.identifier())).collect());
    &ALL
}

/// Whether `name` is a VRL function that was left out on purpose.
pub fn is_impure(name: &str) -> bool {
    IMPURE.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_excluded_function_is_one_of_vrl() {
        let all: Vec<_> = vrl::stdlib::all().iter().map(|f| f.identifier()).collect();
        for name in IMPURE {
            assert!(all.contains(name), "{name} is not known to VRL");
        }
        assert_eq!(available().len(), all.len() - IMPURE.len());
    }
}
