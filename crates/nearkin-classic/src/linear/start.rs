//! Where the iterative methods begin.

use nearkin_sweep::Vectors;

use crate::algebra::Matrix;
use crate::error::ClassicError;
use crate::input::Classes;
use crate::linear::lda::Lda;
use crate::linear::pca::Pca;

/// The first map of a method that improves one step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// LDA where there are labels, classes enough, and scatter within them; else PCA where dimensions are reduced; else the
    /// identity. As scikit-learn's.
    #[default]
    Auto,
    /// The first columns as they are.
    Identity,
    /// The principal components.
    Pca,
    /// Fisher's directions.
    Lda,
}

impl Start {
    /// The first `dims` × d matrix. Methods without labels have none.
    pub(crate) fn matrix(
        self,
        vectors: Vectors<'_>,
        labels: Option<(&[u32], &Classes)>,
        dims: usize,
    ) -> Result<Matrix, ClassicError> {
        let d = vectors.dim();
        match (self, labels) {
            (Self::Identity, _) => Ok(Matrix::identity(dims, d)),
            (Self::Pca, _) => Ok(Pca::new(dims).fit(vectors)?.map.matrix().clone()),
            (Self::Lda, Some((labels, _))) => {
                Ok(Lda::new().dims(dims).fit(vectors, labels)?.map.matrix().clone())
            }
            (Self::Lda, None) => Err(ClassicError::Start { start: "LDA", why: "this method has no classes" }),
            (Self::Auto, Some((labels, classes))) if dims < classes.len() => {
                match Lda::new().dims(dims).fit(vectors, labels) {
                    Ok(fitted) => Ok(fitted.map.matrix().clone()),
                    Err(ClassicError::Singular { .. } | ClassicError::Dims { .. }) => {
                        Self::reduced(vectors, dims)
                    }
                    Err(error) => Err(error),
                }
            }
            (Self::Auto, _) => Self::reduced(vectors, dims),
        }
    }

    fn reduced(vectors: Vectors<'_>, dims: usize) -> Result<Matrix, ClassicError> {
        let possible = dims < vectors.dim().min(vectors.len());
        if possible { Self::Pca } else { Self::Identity }.matrix(vectors, None, dims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_the_best_that_there_is() {
        let table = [0.0, 1.0, 9.0, 1.0, 0.0, 9.0, 7.0, 8.0, 0.0, 6.0, 9.0, 5.0];
        let (vectors, labels) = (Vectors::new(&table, 3).unwrap(), [0, 0, 1, 1]);
        let classes = Classes::new(4, &labels).unwrap();
        let auto = |dims| Start::Auto.matrix(vectors, Some((&labels, &classes)), dims).unwrap();
        // S_w is singular: PCA.
        assert_eq!(auto(1), Start::Pca.matrix(vectors, None, 1).unwrap());
        assert_eq!(auto(3), Matrix::identity(3, 3));
        assert!(Start::Lda.matrix(vectors, Some((&labels, &classes)), 1).is_err());
        assert!(Start::Lda.matrix(vectors, None, 1).unwrap_err().to_string().contains("no classes"));
        let tall = Vectors::new(&table, 2).unwrap();
        let (labels, classes) = ([0, 0, 0, 1, 1, 1], Classes::new(6, &[0, 0, 0, 1, 1, 1]).unwrap());
        let found = Start::Auto.matrix(tall, Some((&labels, &classes)), 1).unwrap();
        assert_eq!(found, Start::Lda.matrix(tall, Some((&labels, &classes)), 1).unwrap());
    }
}
