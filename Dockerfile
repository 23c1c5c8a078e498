# The series on a CPU, all packages installed:
#
#     docker build -t glm-ppo .
#     docker run glm-ppo                                       # runs the five notebooks
#     docker run -p 8888:8888 glm-ppo make lab ARGS="--ip=0.0.0.0 --allow-root"
FROM python:3.11
WORKDIR /glm-ppo
COPY . .
RUN make .overlays/.ready
CMD ["make", "run"]
