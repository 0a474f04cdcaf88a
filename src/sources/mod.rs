//! Where messages come from: one file (or folder) a component, named as in YAML.

pub mod file;
pub mod kafka;
