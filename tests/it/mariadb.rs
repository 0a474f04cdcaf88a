//! Statements for the tests' MariaDB, by its own client.

use std::process::Command;

/// Runs statements at `user@host:port`; the answer's fields, one list a row.
pub fn sql(server: &str, statements: &str) -> Vec<Vec<String>> {
    let (user, address) = server.split_once('@').unwrap();
    let (host, port) = address.split_once(':').unwrap();
    let done = Command::new("mariadb")
        .args(["--no-defaults", "--protocol=tcp", "-h", host, "-P", port, "-u", user, "-N", "-B"])
        .args(["--default-character-set=utf8mb4", "-e", statements])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_string).collect()).collect()
}
