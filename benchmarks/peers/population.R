# R peers of benchmarks/population.py: Rscript population.R <tool> <case> <data.csv> <folder>
# tool: nlme or saemix. Prints one line of estimates, "name value", and the CPU seconds of the fit.
arguments <- commandArgs(trailingOnly = TRUE)
tool <- arguments[1]; case <- arguments[2]; data <- read.csv(arguments[3]); folder <- arguments[4]

oral <- function(t, dose, cl, v, ka, lag = 0) {
  k <- cl / v
  s <- pmax(t - lag, 0)
  dose * ka / (v * (ka - k)) * (exp(-k * s) - exp(-ka * s))
}

if (case == "chain") {
  library(deSolve)
  dyn.load(file.path(folder, paste0("chain", .Platform$dynlib.ext)))
  fixed_values <- as.numeric(read.csv(file.path(folder, "chain.csv"))$value)
  solve_one <- function(times, dose, rest, mtt, slope) {
    grid <- unique(c(0, times))
    start <- c(dose, 0, 0, rep(rest, 5), 0, 1, 1, 0)
    out <- ode(start, grid, func = "derivs", parms = c(rest, mtt, slope, fixed_values), dllname = "chain",
               initfunc = "initmod", rtol = 1e-6, atol = 1e-8)
    out[match(times, grid), 9]
  }
  chain <- function(t, id, dose, rest, mtt, slope) {
    y <- numeric(length(t))
    for (own in split(seq_along(t), id)) {
      first <- own[1]
      y[own] <- solve_one(t[own], dose[first], rest[first], mtt[first], slope[first])
    }
    y
  }
}

begin <- list(theophylline = c(CL = 3.5, V = 25, ka = 1), warfarin = c(CL = 0.1, V = 7, ka = 1, Tlag = 0.8),
              chain = c(rest = 4, MTT = 100, slope = 0.3))[[case]]

clock <- proc.time()
if (tool == "nlme") {
  library(nlme)
  data$id <- factor(data$id)
  control <- nlmeControl(maxIter = 200, msMaxIter = 200, pnlsTol = 1e-3, returnObject = FALSE)
  fit <- switch(case,
    theophylline = nlme(y ~ oral(t, dose, exp(lCL), exp(lV), exp(lka)), data = data,
      fixed = lCL + lV + lka ~ 1, random = list(id = pdDiag(lCL + lV + lka ~ 1)), start = log(begin), control = control),
    warfarin = nlme(y ~ oral(t, dose, exp(lCL), exp(lV), exp(lka), exp(lTlag)), data = data,
      fixed = lCL + lV + lka + lTlag ~ 1, random = list(id = pdDiag(lCL + lV + lka + lTlag ~ 1)), start = log(begin),
      control = control),
    chain = nlme(y ~ chain(t, id, dose, exp(lrest), exp(lMTT), exp(lslope)), data = data,
      fixed = lrest + lMTT + lslope ~ 1, random = list(id = pdDiag(lrest + lMTT + lslope ~ 1)), start = log(begin),
      control = control))
  typical <- exp(fixef(fit))
  sds <- as.numeric(VarCorr(fit)[seq_along(begin), "StdDev"])
  a <- fit$sigma
} else {
  suppressMessages(library(saemix))
  made <- saemixData(data, name.group = "id", name.predictors = c("t", "dose"), name.response = "y", verbose = FALSE)
  # Parameters come as one row per subject; id is the row of each observation.
  model <- switch(case,
    theophylline = function(psi, id, x) oral(x[, 1], x[, 2], psi[id, 1], psi[id, 2], psi[id, 3]),
    warfarin = function(psi, id, x) oral(x[, 1], x[, 2], psi[id, 1], psi[id, 2], psi[id, 3], psi[id, 4]),
    chain = function(psi, id, x) chain(x[, 1], id, x[, 2], psi[id, 1], psi[id, 2], psi[id, 3]))
  n <- length(begin)
  declared <- saemixModel(model, psi0 = matrix(begin, nrow = 1, dimnames = list(NULL, names(begin))),
    transform.par = rep(1, n), covariance.model = diag(n), omega.init = diag(rep(0.16, n)), error.model = "constant",
    verbose = FALSE)
  settings <- list(save = FALSE, save.graphs = FALSE, displayProgress = FALSE, print = FALSE, map = FALSE,
                   fim = FALSE, ll.is = FALSE, seed = 1)
  fit <- saemix(declared, made, settings)
  typical <- fit@results@fixed.effects
  sds <- sqrt(diag(fit@results@omega))
  a <- fit@results@respar[1]
}
used <- (proc.time() - clock)[c("user.self", "sys.self")]
cat(sprintf("%s %.10g\n", names(begin), typical[seq_along(begin)]), sep = "")
cat(sprintf("omega_%s %.10g\n", names(begin), sds), sep = "")
cat(sprintf("a %.10g\ncpu %.6g\n", a, sum(used)))
