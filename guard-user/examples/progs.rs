//! x
fn main() {
    for p in aya::programs::loaded_programs().flatten() {
        println!(
            "{:?} verified {:?} xlated {:?} jited {} time {:?} runs {:?}",
            p.name_as_str(),
            p.verified_instruction_count(),
            p.size_translated(),
            p.size_jitted(),
            p.run_time(),
            p.run_count()
        );
    }
}
