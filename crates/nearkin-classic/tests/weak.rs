//! The weakly supervised methods beside metric-learn, scikit-learn and scipy: values by `golden/weak.py`.

use nearkin_classic::{
    Itml, Lbfgs, Lsml, Mahalanobis, Mmc, Pairs, Quadruplet, Quadruplets, Rca, Scml, Sdml, Triplet, Triplets,
};
use nearkin_sweep::Vectors;
use serde_json::Value;

struct Golden {
    values: Value,
    table: Vec<f32>,
}

impl Golden {
    fn read() -> Self {
        let values: Value = serde_json::from_str(include_str!("golden/weak.json")).unwrap();
        let table = values["table"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
        Self { values, table }
    }

    fn vectors(&self) -> Vectors<'_> {
        Vectors::new(&self.table, 4).unwrap()
    }

    fn number(&self, name: &str) -> f64 {
        self.values[name].as_f64().unwrap()
    }

    fn tuples<const N: usize>(&self, name: &str) -> Vec<[u32; N]> {
        let tuple = |t: &Value| std::array::from_fn(|at| t[at].as_u64().unwrap() as u32);
        self.values[name].as_array().unwrap().iter().map(tuple).collect()
    }

    fn pairs(&self) -> Pairs {
        let of = |name| self.tuples(name).into_iter().map(|[a, b]| (a, b)).collect();
        Pairs { kin: of("kin"), strangers: of("strangers") }
    }

    fn is_near(&self, name: &str, found: &Mahalanobis, within: f64) {
        let wanted: Vec<f64> =
            self.values[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let size = wanted.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        for (found, wanted) in found.matrix().data().iter().zip(&wanted) {
            assert!((found - wanted).abs() < within * size, "{name}: {found} for {wanted}");
        }
    }
}

#[test]
fn rca_and_itml_are_metric_learns() {
    let golden = Golden::read();
    // A sample of no chunklet is one of its own.
    let chunks = golden.values["chunks"].as_array().unwrap().iter().enumerate();
    let chunks: Vec<u32> =
        chunks.map(|(i, c)| c.as_i64().unwrap().try_into().unwrap_or(1000 + i as u32)).collect();
    golden.is_near("rca", &Rca::new().fit(golden.vectors(), &chunks).unwrap().metric(), 1e-6);
    let itml = Itml::new().gamma(2.0).bounds(1.0, 4.0).stop(20_000, 1e-13);
    let fitted = itml.fit(golden.vectors(), &golden.pairs()).unwrap();
    golden.is_near("itml", &fitted.map.metric(), 1e-6);
}

#[test]
fn sdml_is_scikit_learns_graphical_lasso() {
    let golden = Golden::read();
    let sdml = Sdml::new().balance(0.1).sparsity(0.05).stop(1000, 1e-13);
    let fitted = sdml.fit(golden.vectors(), &golden.pairs()).unwrap();
    golden.is_near("sdml", &fitted.map.metric(), 1e-6);
    assert!(fitted.how.gap < 1e-9, "{:?}", fitted.how);
}

#[test]
fn lsml_reaches_the_least_of_metric_learns_loss() {
    let golden = Golden::read();
    let of = |[a, b, c, d]: [u32; 4]| Quadruplet { near: (a, b), far: (c, d) };
    let quadruplets = Quadruplets(golden.tuples("quadruplets").into_iter().map(of).collect());
    let exact = Lbfgs { iterations: 5000, tolerance: 1e-14 };
    let fitted = Lsml::new().descent(exact).fit(golden.vectors(), &quadruplets).unwrap();
    assert!((fitted.how.objective - golden.number("lsml_loss")).abs() < 1e-8);
    assert!(fitted.how.objective <= golden.number("lsml_peer") + 1e-9);
    golden.is_near("lsml", &fitted.map.metric(), 1e-4);
}

#[test]
fn mmc_reaches_the_most_of_its_program() {
    let golden = Golden::read();
    let (vectors, pairs) = (golden.vectors(), golden.pairs());
    for (name, settings) in [("full", Mmc::full()), ("diagonal", Mmc::diagonal())] {
        let fitted =
            settings.descent(Lbfgs { iterations: 5000, tolerance: 1e-14 }).fit(vectors, &pairs).unwrap();
        let metric = fitted.map.metric();
        let distance =
            |&(a, b): &(u32, u32)| metric.distance(vectors.row(a as usize), vectors.row(b as usize)).unwrap();
        let kin: f64 = pairs.kin.iter().map(|pair| distance(pair).powi(2)).sum();
        let strangers: f64 = pairs.strangers.iter().map(distance).sum();
        assert!((kin - 1.0).abs() < 1e-9, "{name}: {kin}");
        let (wanted, peer) =
            (golden.number(&format!("mmc_{name}")), golden.number(&format!("mmc_{name}_peer")));
        assert!((strangers - wanted).abs() < 1e-5 * wanted, "{name}: {strangers} for {wanted}");
        assert!(strangers >= peer * (1.0 - 1e-6), "{name}: {strangers}, metric-learn {peer}");
    }
}

#[test]
fn scml_is_near_the_least_of_its_program_with_any_directions() {
    let golden = Golden::read();
    let of = |[anchor, kin, stranger]: [u32; 3]| Triplet { anchor, kin, stranger };
    let triplets = Triplets(golden.tuples("triplets").into_iter().map(of).collect());
    let basis: Vec<f64> =
        golden.values["scml_basis"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    let basis = nearkin_classic::Matrix::new(basis.len() / 4, 4, basis).unwrap();
    let fitted =
        Scml::new().beta(0.01).sets(40_000, 10, 1.0).basis(basis).fit(golden.vectors(), &triplets).unwrap();
    let (least, peer) = (golden.number("scml"), golden.number("scml_peer"));
    let found = fitted.how.objective;
    assert!(found >= least - 1e-9 && found < 1.01 * least, "{found} for {least}");
    assert!(found <= peer, "{found}, metric-learn {peer}");
}
