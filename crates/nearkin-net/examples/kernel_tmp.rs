use nearkin_net::kernels::{
    conv::{self, ConvShape},
    norm::{self, Affine, Channels},
    residual,
};
use std::time::Instant;
fn main() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
    let t = |f: &mut dyn FnMut()| { f(); (0..4).map(|_| { let t = Instant::now(); f(); t.elapsed().as_secs_f64()*1e3 }).fold(f64::MAX, f64::min) };
    for (n, c, o, h, k, s) in [(128,3,32,32,3,1),(128,32,64,32,3,2),(128,64,128,16,3,2),(128,128,256,8,3,2),(64,3,64,32,3,1),(64,64,64,32,3,1),(64,64,128,32,3,2),(64,64,128,32,1,2),(64,128,128,16,3,1),(64,256,256,8,3,1),(64,512,512,4,3,1),(8,64,64,56,3,1),(8,256,64,56,1,1),(8,3,64,224,7,2)] {
        let q = ConvShape::new([n,c,h,h],[o,c,k,k],s,k/2).unwrap();
        let sz = |s: [usize;4]| s.iter().product::<usize>();
        let x: Vec<f32> = (0..sz(q.input())).map(|i| (i%17) as f32 -8.).collect(); let w: Vec<f32> = (0..sz(q.weight())).map(|i| (i%13) as f32-6.).collect(); let dy: Vec<f32> = (0..sz(q.output())).map(|i| (i%11) as f32-5.).collect();
        let gf = 2.0*(sz(q.output())*c*k*k) as f64/1e6;
        let a = t(&mut || { conv::forward(&x,&w,&q); }); let b = t(&mut || { conv::data_gradient(&dy,&w,&q); }); let d = t(&mut || { conv::weight_gradient(&x,&dy,&q); });
        println!("{n:>3}x{c:>3}->{o:>3} {h:>3}px k{k} s{s}: {:6.2} GF | f {a:6.1} dx {b:6.1} dw {d:6.1} ms | GF/s {:4.0} {:4.0} {:4.0}", gf/1e3, gf/a, gf/b, gf/d);
    }
    for (n,c,p) in [(128,32,1024),(64,64,1024),(64,512,16),(256,2048,1)] {
        let q = Channels::new(&[n,c,p]).unwrap(); let x: Vec<f32> = (0..n*c*p).map(|i| (i%17) as f32 -8.).collect();
        let g = vec![1.0;c]; let b = vec![0.1;c];
        let st = norm::statistics(&x,&q); let inv = norm::inverse_deviation(&st.variance,1e-5); let af = Affine{mean:&st.mean,inverse:&inv,gamma:&g,beta:&b};
        println!("bn {n}x{c}x{p}: {:.1} M | stats {:.2} norm {:.2} grad {:.2} residual {:.2} {:.2} ms", (n*c*p) as f64/1e6, t(&mut || {norm::statistics(&x,&q);}), t(&mut || {norm::normalise(&x,af,true,&q);}), t(&mut || {norm::gradients(&x,&x,af,true,true,&q);}), t(&mut || {residual::add_relu(&x,&x);}), t(&mut || {residual::gradient(&x,&x);}));
    }
    });
}
