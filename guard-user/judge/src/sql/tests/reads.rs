use super::{assert_reads, lines};

const READS: &str = include_str!("fixtures/reads.sql");

#[test]
fn what_only_reads_passes() {
    for statement in lines(READS) {
        // psycopg 2 fills its own placeholders in.
        assert_reads(&statement.replace("%(name)s", "'x'"));
    }
}

#[test]
fn all_of_it_passes_in_one_string() {
    let all: Vec<_> = lines(READS)
        .filter(|line| !line.contains("%(name)s"))
        .collect();
    assert!(all.len() > 200);
    assert_reads(&all[..100].join(";\n"));
}
