"""What one token does to a memory and how it is read, one file per family, each with its backward.

matrix    linear, gated_linear, gla: a matrix that decays and is added to
delta     delta, gated_delta: a matrix that is corrected
mlstm     a matrix with exponential gates and a divided read
deep      dla, titans: a perceptron that descends
vector    lstm, gru: a vector
"""
