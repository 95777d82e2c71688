//! Pictures of many clients at once: what waits is decoded in parallel and goes through the network together.

use nearkin_data::{Image, Limits as DecodeLimits, decode};
use nearkin_train::NetworkModel;
use rayon::prelude::*;

use crate::batcher::{Batcher, Weighed};
use crate::error::ApiError;
use crate::server::Limits;

/// The pictures of one request, as they came.
pub(crate) struct Pictures(pub Vec<Vec<u8>>);

impl Weighed for Pictures {
    fn weight(&self) -> usize {
        self.0.len()
    }
}

/// Answers with the vectors of a request's pictures, in order; one that cannot be read fails its request.
pub(crate) type Embedder = Batcher<Pictures, Vec<f32>>;

/// Starts the thread that embeds.
pub(crate) fn start(model: NetworkModel, limits: &Limits) -> std::io::Result<Embedder> {
    let pixels = DecodeLimits { max_pixels: limits.pixels };
    Batcher::start("embed", limits.queue, limits.batch, move |batch| embed(&model, pixels, batch))
}

fn embed(
    model: &NetworkModel,
    limits: DecodeLimits,
    batch: Vec<Pictures>,
) -> Vec<Result<Vec<f32>, ApiError>> {
    let decoded: Vec<Result<Vec<Image>, ApiError>> =
        batch.into_iter().map(|pictures| decode_all(model, limits, pictures)).collect();
    let images: Vec<&Image> = decoded.iter().flatten().flatten().collect();
    let vectors = match model.embed_images(&images) {
        Ok(vectors) => vectors,
        Err(error) => {
            let error = ApiError::from(error);
            return decoded.into_iter().map(|images| images.and(Err(error.clone()))).collect();
        }
    };
    let mut rest = &vectors[..];
    let mut share = |images: Vec<Image>| {
        let (mine, others) = rest.split_at(images.len() * model.card.dimension);
        rest = others;
        mine.to_vec()
    };
    decoded.into_iter().map(|images| images.map(&mut share)).collect()
}

fn decode_all(
    model: &NetworkModel,
    limits: DecodeLimits,
    pictures: Pictures,
) -> Result<Vec<Image>, ApiError> {
    let (many, options) = (pictures.0.len() > 1, model.prepare_options());
    let decoded = pictures.0.into_par_iter().enumerate().map(|(i, bytes)| {
        let named = |error: ApiError| if many { error.with("image", i) } else { error };
        let image = decode(&bytes, limits).map_err(|e| named(e.into()))?;
        // Small at once: a request may hold many large ones.
        options.apply(image).map_err(|e| named(ApiError::internal(e.to_string())))
    });
    decoded.collect()
}
