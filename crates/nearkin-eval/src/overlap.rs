//! Is a class-disjoint split disjoint?

use std::collections::BTreeSet;

/// Names of the classes found on both sides, sorted, each once. Empty for a split that is class-disjoint.
///
/// Retrieval of *unseen* classes is only that when training saw none of the test classes, so deep metric
/// learning splits by class (Song et al. 2016, *Deep Metric Learning via Lifted Structured Feature
/// Embedding*). Names are compared, not numbers: two sources may number the same classes differently.
pub fn class_overlap(train_classes: &[String], test_classes: &[String]) -> Vec<String> {
    let train: BTreeSet<&String> = train_classes.iter().collect();
    let test: BTreeSet<&String> = test_classes.iter().collect();
    train.intersection(&test).map(|&name| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn shared_classes_are_listed_once_in_order_and_case_matters() {
        let overlap =
            class_overlap(&names(&["owl", "fox", "cat", "fox"]), &names(&["fox", "Cat", "owl", "fox"]));
        assert_eq!(overlap, names(&["fox", "owl"]));
        assert!(class_overlap(&names(&["owl"]), &names(&["fox"])).is_empty());
        assert!(class_overlap(&[], &names(&["fox"])).is_empty());
    }
}
