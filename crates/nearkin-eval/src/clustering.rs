//! How well a clustering agrees with the classes.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::EvalError;

/// Agreement of a clustering with the classes. All are 1 for the same partition under other numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClusteringScores {
    /// Normalised mutual information, `I(U; V) / ((H(U) + H(V)) / 2)`, in [0, 1] (Vinh, Epps, Bailey 2010, *Information Theoretic
    /// Measures for Clusterings Comparison*). It grows with the number of clusters even by chance.
    pub nmi: f64,
    /// Adjusted mutual information, `(I − E I) / ((H(U) + H(V)) / 2 − E I)`, `E I` the mean over all clusterings with the same sizes (Vinh
    /// et al. 2010): about 0 by chance, at most 1.
    pub ami: f64,
    /// Adjusted Rand index (Hubert & Arabie 1985, *Comparing partitions*): about 0 by chance, at most 1.
    pub ari: f64,
    /// Of the pairs in one cluster, the share of one class.
    pub pairwise_precision: f64,
    /// Of the pairs of one class, the share in one cluster.
    pub pairwise_recall: f64,
    /// `2 P R / (P + R)`.
    pub pairwise_f1: f64,
    /// The mean over samples of the share of its cluster that has its class (Bagga & Baldwin 1998, *Entity-Based Cross-Document
    /// Coreferencing Using the Vector Space Model*; Amigó et al. 2009).
    pub b_cubed_precision: f64,
    /// The mean over samples of the share of its class that is in its cluster.
    pub b_cubed_recall: f64,
    /// `2 P R / (P + R)`.
    pub b_cubed_f1: f64,
    /// Classes found among `labels`.
    pub classes: usize,
    /// Clusters found.
    pub clusters: usize,
}

/// Compares `clusters` (a number a sample) with `labels`.
///
/// The conventions are scikit-learn's: entropies are normalised by their arithmetic mean, and two partitions of one part each agree
/// fully. A share of no pairs counts as 1 when the other side has no pairs either, else as 0.
///
/// Cost: `O(n log n)`, and for the AMI the sum over pairs of distinct sizes of the smaller size. Memory: the cells that are not empty,
/// and 8 bytes a sample.
///
/// # Errors
/// No sample, and lists of different lengths.
pub fn clustering_scores(labels: &[u32], clusters: &[u32]) -> Result<ClusteringScores, EvalError> {
    if labels.len() != clusters.len() {
        return Err(EvalError::Count {
            what: "clusters of samples",
            found: clusters.len(),
            wanted: labels.len(),
        });
    }
    if labels.is_empty() {
        return Err(EvalError::Undefined {
            measure: "agreement of a clustering",
            reason: "there are no samples".to_owned(),
        });
    }
    let mut cells: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let (mut of_class, mut of_cluster): (BTreeMap<u32, u64>, BTreeMap<u32, u64>) = Default::default();
    for (&label, &cluster) in labels.iter().zip(clusters) {
        *cells.entry((label, cluster)).or_default() += 1;
        *of_class.entry(label).or_default() += 1;
        *of_cluster.entry(cluster).or_default() += 1;
    }
    let n = labels.len() as f64;

    let squares = |sizes: &mut dyn Iterator<Item = u64>| sizes.map(|s| s as f64 * s as f64).sum::<f64>();
    let (both, classes, found) = (
        squares(&mut cells.values().copied()),
        squares(&mut of_class.values().copied()),
        squares(&mut of_cluster.values().copied()),
    );
    // Ordered pairs: of one class and one cluster, of one cluster only, of one class only, of neither.
    let (together, mixed, split) = (both - n, found - both, classes - both);
    let apart = n * n - n - together - mixed - split;
    let ari = if mixed == 0.0 && split == 0.0 {
        1.0
    } else {
        2.0 * (together * apart - split * mixed)
            / ((together + split) * (split + apart) + (together + mixed) * (mixed + apart))
    };
    let share = |part: f64, other: f64| match (part + other > 0.0, part + mixed + split > 0.0) {
        (true, _) => part / (part + other),
        (false, true) => 0.0,
        (false, false) => 1.0,
    };
    let (pairwise_precision, pairwise_recall) = (share(together, mixed), share(together, split));

    let (mut information, mut b_cubed_precision, mut b_cubed_recall) = (0.0, 0.0, 0.0);
    for ((label, cluster), &count) in &cells {
        let (count, class, cluster) = (count as f64, of_class[label] as f64, of_cluster[cluster] as f64);
        information += count / n * (count * n / (class * cluster)).ln();
        b_cubed_precision += count * count / cluster / n;
        b_cubed_recall += count * count / class / n;
    }
    let entropy = |sizes: &BTreeMap<u32, u64>| -> f64 {
        sizes.values().map(|&s| s as f64 / n).map(|p| -p * p.ln()).sum()
    };
    let entropies = 0.5 * (entropy(&of_class) + entropy(&of_cluster));
    let (nmi, ami) = if of_class.len() == 1 && of_cluster.len() == 1 {
        (1.0, 1.0)
    } else {
        let expected = expected_information(&of_class, &of_cluster, labels.len());
        let room = entropies - expected;
        // As many clusters as samples on both sides leave no room for chance: the partitions are the same.
        let ami = if room.abs() < 1e-12 * entropies { 1.0 } else { (information - expected) / room };
        ((information / entropies).clamp(0.0, 1.0), ami)
    };
    Ok(ClusteringScores {
        nmi,
        ami,
        ari,
        pairwise_precision,
        pairwise_recall,
        pairwise_f1: f1(pairwise_precision, pairwise_recall),
        b_cubed_precision,
        b_cubed_recall,
        b_cubed_f1: f1(b_cubed_precision, b_cubed_recall),
        classes: of_class.len(),
        clusters: of_cluster.len(),
    })
}

fn f1(precision: f64, recall: f64) -> f64 {
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

/// The mean mutual information of two random partitions with these sizes (Vinh et al. 2010).
fn expected_information(of_class: &BTreeMap<u32, u64>, of_cluster: &BTreeMap<u32, u64>, n: usize) -> f64 {
    // ln k!, summed with compensation: a plain sum of a million logarithms loses six digits.
    let mut ln_factorial = Vec::with_capacity(n + 1);
    let (mut sum, mut lost) = (0.0f64, 0.0f64);
    ln_factorial.push(0.0);
    for k in 1..=n {
        let term = (k as f64).ln() - lost;
        let next = sum + term;
        lost = (next - sum) - term;
        sum = next;
        ln_factorial.push(sum);
    }
    // Parts of equal size have the same expectation.
    let sizes = |of: &BTreeMap<u32, u64>| {
        let mut sizes: BTreeMap<usize, f64> = BTreeMap::new();
        of.values().for_each(|&size| *sizes.entry(size as usize).or_default() += 1.0);
        sizes
    };
    let (classes, clusters) = (sizes(of_class), sizes(of_cluster));
    let mut expected = 0.0;
    for (&a, &times_a) in &classes {
        for (&b, &times_b) in &clusters {
            let fixed = ln_factorial[a] + ln_factorial[b] + ln_factorial[n - a] + ln_factorial[n - b]
                - ln_factorial[n];
            let mut of_pair = 0.0;
            for both in (a + b).saturating_sub(n).max(1)..=a.min(b) {
                let ln_chance = fixed
                    - ln_factorial[both]
                    - ln_factorial[a - both]
                    - ln_factorial[b - both]
                    - ln_factorial[n + both - a - b];
                let (both, n) = (both as f64, n as f64);
                of_pair += both / n * (both * n / (a as f64 * b as f64)).ln() * ln_chance.exp();
            }
            expected += times_a * times_b * of_pair;
        }
    }
    expected
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn a_hand_worked_clustering() {
        // Classes aab|b, clusters (a a b)(b): pairs together 1, in one cluster 3, of one class 2.
        let found = clustering_scores(&[0, 0, 1, 1], &[5, 5, 5, 9]).unwrap();
        close(found.pairwise_precision, 1.0 / 3.0);
        close(found.pairwise_recall, 0.5);
        close(found.pairwise_f1, 0.4);
        close(found.b_cubed_precision, (2.0 / 3.0 + 2.0 / 3.0 + 1.0 / 3.0 + 1.0) / 4.0);
        close(found.b_cubed_recall, (1.0 + 1.0 + 0.5 + 0.5) / 4.0);
        // Rand: E = 2·3/6 = 1, so (1 − 1) / (2.5 − 1).
        close(found.ari, 0.0);
        assert_eq!((found.classes, found.clusters), (2, 2));
    }

    #[test]
    fn the_same_partition_under_other_numbers_is_perfect() {
        for labels in [vec![3, 3, 1, 2, 2, 2], vec![4; 5], vec![0, 1, 2, 3], vec![9]] {
            let other: Vec<u32> = labels.iter().map(|l| 100 - l).collect();
            let found = clustering_scores(&labels, &other).unwrap();
            for value in [found.nmi, found.ami, found.ari, found.pairwise_f1, found.b_cubed_f1] {
                close(value, 1.0);
            }
        }
    }

    #[test]
    fn bad_input_is_named() {
        assert!(clustering_scores(&[0], &[0, 1]).unwrap_err().to_string().contains("found 2, wanted 1"));
        assert!(clustering_scores(&[], &[]).unwrap_err().to_string().contains("no samples"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

        #[test]
        fn counts_agree_with_all_pairs(both in prop::collection::vec((0u32..4, 0u32..5), 1..30)) {
            let (labels, clusters): (Vec<u32>, Vec<u32>) = both.iter().copied().unzip();
            let found = clustering_scores(&labels, &clusters).unwrap();
            let n = labels.len();
            let (mut together, mut in_cluster, mut of_class) = (0.0, 0.0, 0.0);
            let (mut precision, mut recall) = (0.0, 0.0);
            for i in 0..n {
                let (mut own, mut cluster, mut class) = (0.0, 0.0, 0.0);
                for j in 0..n {
                    let (same, near) = (labels[i] == labels[j], clusters[i] == clusters[j]);
                    own += f64::from(u8::from(same && near));
                    cluster += f64::from(u8::from(near));
                    class += f64::from(u8::from(same));
                }
                precision += own / cluster / n as f64;
                recall += own / class / n as f64;
                together += own - 1.0;
                in_cluster += cluster - 1.0;
                of_class += class - 1.0;
            }
            prop_assert!((found.b_cubed_precision - precision).abs() < 1e-9);
            prop_assert!((found.b_cubed_recall - recall).abs() < 1e-9);
            if in_cluster > 0.0 {
                prop_assert!((found.pairwise_precision - together / in_cluster).abs() < 1e-9);
            }
            if of_class > 0.0 {
                prop_assert!((found.pairwise_recall - together / of_class).abs() < 1e-9);
            }
            prop_assert!(found.ami <= 1.0 + 1e-9 && found.ari <= 1.0 && (0.0..=1.0).contains(&found.nmi));
        }
    }
}
