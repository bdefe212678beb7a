"""The server of most tutorials: FastAPI, a pydantic model with a field per column, a DataFrame, a joblib file.

python fastapi_tutorial.py MODEL_FILE HTTP_PORT
"""

from __future__ import annotations

import sys
from typing import Any

import joblib
import pandas as pd
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
estimator = joblib.load(sys.argv[1])


class Patient(BaseModel):
    """One row."""

    age: float
    sex: float
    cp: float
    trestbps: float
    chol: float
    fbs: float
    restecg: float
    thalach: float
    exang: float
    oldpeak: float
    slope: float
    ca: float
    thal: float


@app.post("/predict")
def predict(patient: Patient) -> Any:
    frame = pd.DataFrame([patient.model_dump()])
    return {"predictions": estimator.predict(frame.to_numpy()).tolist()}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
