/* An LSTM with a dense head whose sizes are template arguments, over Eigen's fixed-size matrices: the approach that
   RTNeural (Chowdhury, arXiv:2106.03037) made known for audio, written anew for the comparison in c.py. Its
   matrix [W | R | b] is multiplied with [x; h; 1]; rows of W, R, b: i f g o. */
#include <Eigen/Dense>

template <int Inputs, int Units, int Outputs> class Network {
    static constexpr int Gates = 4 * Units, Columns = Inputs + Units + 1;
    Eigen::Matrix<float, Gates, Columns> weights;
    Eigen::Matrix<float, Outputs, Units> head;
    Eigen::Matrix<float, Outputs, 1> head_bias;
    Eigen::Matrix<float, Columns, 1> input; /* x, h, 1 */
    Eigen::Matrix<float, Gates, 1> sums;
    Eigen::Array<float, Units, 1> c;

  public:
    EIGEN_MAKE_ALIGNED_OPERATOR_NEW

    void load(const float *W, const float *R, const float *b, const float *V, const float *v) {
        for (int row = 0; row < Gates; row++) {
            for (int k = 0; k < Inputs; k++) weights(row, k) = W[row * Inputs + k];
            for (int k = 0; k < Units; k++) weights(row, Inputs + k) = R[row * Units + k];
            weights(row, Columns - 1) = b[row];
        }
        for (int row = 0; row < Outputs; row++) {
            for (int k = 0; k < Units; k++) head(row, k) = V[row * Units + k];
            head_bias(row) = v[row];
        }
    }

    void reset(const float *h, const float *c_) {
        input.setOnes();
        for (int k = 0; k < Units; k++) input(Inputs + k) = h[k], c(k) = c_[k];
    }

    void step(const float *x, float *y) {
        for (int k = 0; k < Inputs; k++) input(k) = x[k];
        sums.noalias() = weights * input;
        auto sigmoid = [](const auto &z) { return 1.0f / (1.0f + (-z).exp()); };
        const Eigen::Array<float, Units, 1> i = sigmoid(sums.template segment<Units>(0).array());
        const Eigen::Array<float, Units, 1> f = sigmoid(sums.template segment<Units>(Units).array());
        const Eigen::Array<float, Units, 1> o = sigmoid(sums.template segment<Units>(3 * Units).array());
        c = f * c + i * sums.template segment<Units>(2 * Units).array().tanh();
        input.template segment<Units>(Inputs) = (o * c.tanh()).matrix();
        Eigen::Map<Eigen::Matrix<float, Outputs, 1>>(y).noalias() =
            head * input.template segment<Units>(Inputs) + head_bias;
    }
};

static Network<INPUTS, UNITS, OUTPUTS> network;

extern "C" void static_load(const float *W, const float *R, const float *b, const float *V, const float *v) {
    network.load(W, R, b, V, v);
}

extern "C" void static_run(const float *h, const float *c, const float *xs, float *ys, int count) {
    network.reset(h, c);
    for (; count--; xs += INPUTS, ys += OUTPUTS) network.step(xs, ys);
}
